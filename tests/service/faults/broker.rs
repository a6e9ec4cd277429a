//! The broker stands still, answers with errors, loses its coordinator, loses records.
