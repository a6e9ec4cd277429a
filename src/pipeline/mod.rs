//! The route: batches of decoded records are folded and committed, and Kafka's offsets follow.
//!
//! What can go wrong on the way is answered here, by what the failure calls for: a conflict folds again, Postgres away
//! waits, a lost lease lets go, a refused event is narrowed down to. Nothing is ever skipped.

mod cache;
mod counts;
mod narrowing;
mod outage;
mod redrive;
mod run;
mod source;
mod trace;
mod work;

pub use counts::{Counts, Station, Totals};
pub use redrive::{Decision, Redrive, Redriven};
pub use run::{Pipeline, PipelineOptions, Renewed};
pub use source::Source;
pub use trace::Tracing;

use crate::{store::StoreError, stream::StreamError};

/// Why a pipeline ended before its time. What it had committed stays; the rest is read again.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("Postgres refuses a dead letter: {0}; look for constraints or triggers that were added to dead_letters")]
    DeadLetterRefused(StoreError),
    #[error(
        "the records read don't add up: {read} read, but {discarded} let go and {accounted} accounted for; \
         this is a bug: please report it with the log"
    )]
    NotConserved { read: u64, discarded: u64, accounted: u64 },
}
