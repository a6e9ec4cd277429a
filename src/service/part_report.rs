//! What a part that works in rounds says of its last one.

use std::{
    fmt::Display,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, Utc};

/// How a part's last round went. Written by the part, read by anybody.
#[derive(Debug, Default)]
pub struct PartReport(Mutex<LastRound>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastRound {
    /// When it ended; none before the first.
    pub at: Option<DateTime<Utc>>,
    /// Why it failed, where it did.
    pub error: Option<String>,
}

impl PartReport {
    pub fn last(&self) -> LastRound {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note<E: Display>(&self, result: &Result<(), E>) {
        let error = result.as_ref().err().map(ToString::to_string);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = LastRound { at: Some(Utc::now()), error };
    }
}
