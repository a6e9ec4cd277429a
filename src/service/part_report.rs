//! What a part that works in rounds says of itself.

use std::{
    fmt::Display,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::config::Config;

/// How long a step of a round may take before the part counts as stuck: it has several statements, and each may take its
/// time.
pub(super) fn patience(config: &Config) -> Duration {
    let longest = config.postgres.statement_timeout * 10 + config.postgres.connect_timeout + Duration::from_secs(10);
    config.health.stalled_after.max(longest)
}

/// How a part's rounds go. Written by the part, read by anybody.
#[derive(Debug, Default)]
pub struct PartReport(Mutex<Rounds>);

#[derive(Debug, Default)]
struct Rounds {
    last: LastRound,
    /// When the round under way last got on.
    got_on_at: Option<Instant>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastRound {
    /// When it ended; none before the first.
    pub at: Option<DateTime<Utc>>,
    /// Why it failed, where it did.
    pub error: Option<String>,
}

impl PartReport {
    pub fn last(&self) -> LastRound {
        self.lock().last.clone()
    }

    /// A round has begun, or got on.
    pub(super) fn get_on(&self) {
        self.lock().got_on_at = Some(Instant::now());
    }

    /// No round is under way.
    pub(super) fn rest(&self) {
        self.lock().got_on_at = None;
    }

    pub(super) fn note<E: Display>(&self, result: &Result<(), E>) {
        let error = result.as_ref().err().map(ToString::to_string);
        *self.lock() = Rounds { last: LastRound { at: Some(Utc::now()), error }, got_on_at: None };
    }

    /// # Errors
    /// If a round under way has stood still for longer than this.
    pub(super) fn probe(&self, patience: Duration) -> Result<(), String> {
        match self.lock().got_on_at.map(|at| at.elapsed()) {
            Some(still) if still > patience => Err(format!("its work has stood still for {} s", still.as_secs())),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rounds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
