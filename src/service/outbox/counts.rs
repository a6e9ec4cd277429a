//! What the publisher did since the start, and what it saw waiting.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::store::{OutboxStanding, RowOutcome, Settled};

/// What was seen longer ago says nothing any more.
const FRESH: Duration = Duration::from_secs(300);

/// Written by the publisher, read by anybody.
#[derive(Debug, Default)]
pub struct OutboxCounts {
    published: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    standing: Mutex<Option<(Instant, OutboxStanding)>>,
}

/// How it stands with the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxSeen {
    /// Rows that were delivered and marked, by this instance.
    pub published: u64,
    /// How often a row was refused.
    pub refused: u64,
    /// How often a round failed as a whole.
    pub failed: u64,
    /// Of all instances; none where nobody has looked for a while.
    pub standing: Option<OutboxStanding>,
}

impl OutboxCounts {
    pub fn seen(&self) -> OutboxSeen {
        let standing = *self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        OutboxSeen {
            published: self.published.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            standing: standing.filter(|(at, _)| at.elapsed() < FRESH).map(|(_, standing)| standing),
        }
    }

    pub(super) fn saw(&self, standing: OutboxStanding) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), standing));
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn settled(&self, outcomes: &[Settled]) {
        for (_, outcome) in outcomes {
            match outcome {
                RowOutcome::Published => self.published.fetch_add(1, Ordering::Relaxed),
                RowOutcome::Refused { .. } | RowOutcome::SetAside { .. } => {
                    self.refused.fetch_add(1, Ordering::Relaxed)
                }
                RowOutcome::Released { .. } => 0,
            };
        }
    }
}

impl OutboxSeen {
    /// How long the oldest row has waited; zero where none waits.
    pub fn oldest_age(standing: &OutboxStanding) -> Duration {
        let age = |oldest: DateTime<Utc>| (Utc::now() - oldest).to_std().unwrap_or_default();
        standing.oldest_at.map_or(Duration::ZERO, age)
    }
}
