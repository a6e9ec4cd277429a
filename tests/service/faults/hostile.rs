//! Records that were made to do harm.
