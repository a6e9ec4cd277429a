//! Schedules that once failed, written out.
