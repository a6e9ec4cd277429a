//! Events to changed sessions: the aggregator traits, the built-in aggregators, and the fold of a batch.
//!
//! Everything here is pure and synchronous: no clock, no I/O, no SQL. The same input gives the same output, so the
//! fold can be checked against vectors, against a model, and against itself in another order.

mod aggregator;
mod aggregators;
mod batch;
mod convergent;
mod folded;
mod reference;
mod session;
mod snapshot;
mod standing;

pub use aggregator::{Aggregator, AggregatorId, KnownVerdict, Rejection, SessionAggregator, Verdict};
pub use aggregators::{Aggregators, SideAggregators};
pub use batch::{BatchFold, Folded, Outcome, Refold};
pub use convergent::{Convergent, ConvergentState};
pub use folded::FoldedSession;
pub use reference::{KNOWN_ID, Reference, ReferenceState, SECOND_START, SESSION_IS_FINAL};
pub use session::{Fate, SessionChange, SideChange};
pub use snapshot::{EndCause, Provenance, Snapshot, Status};
pub use standing::{FoldedState, LoadedSession, LoadedSideState, Standing, Version, Wanted};

use crate::event::{Event, EventTime};

/// Folds the events of one session in memory, in the order given; duplicates are seen as such.
///
/// It is the fold of a batch for a session that nothing is known of, which makes it the definition that stored
/// sessions are compared with. None if `events` is empty or holds no event that the aggregator accepts.
pub fn fold_session<A: SessionAggregator + Clone>(
    aggregator: &A,
    events: &[Event],
    as_of: Option<EventTime>,
) -> Option<Snapshot> {
    let session_id = &events.first()?.session_id;
    let aggregators = Aggregators::new(aggregator.clone());
    let mut fold = BatchFold::new(&aggregators, Standing::default());
    for event in events {
        fold.push(event);
    }
    let folded = fold.finish(std::iter::empty());
    let change = folded.changes.into_iter().find(|change| change.session_id == *session_id)?;
    Some(aggregator.snapshot(change.folded.state(), as_of))
}
