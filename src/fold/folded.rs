//! A session's state with all that is stored of it.

use serde::Serialize;

use crate::event::{EventSetDigest, EventTime};

use super::{aggregator::SessionAggregator, snapshot::Snapshot, standing::FoldedState};

/// A folded state, what readers see of it, and the state as it is stored: made together once, so that they agree and
/// nobody makes them again.
#[derive(Debug)]
pub struct FoldedSession<S> {
    folded: FoldedState<S>,
    snapshot: Snapshot,
    /// Of its own length: a batch may have as many as it has records.
    state_json: serde_json::Result<Box<str>>,
}

impl<S: Serialize> FoldedSession<S> {
    /// With `as_of`, time-outs are applied as found at that instant.
    pub fn new<A: SessionAggregator<State = S>>(
        aggregator: &A,
        mut folded: FoldedState<S>,
        as_of: Option<EventTime>,
    ) -> Self {
        if let Some(as_of) = as_of {
            aggregator.time_out(&mut folded.state, as_of);
        }
        let snapshot = aggregator.snapshot(&folded.state, as_of);
        let state_json = serde_json::to_string(&folded.state).map(String::into_boxed_str);
        Self { folded, snapshot, state_json }
    }
}

impl<S> FoldedSession<S> {
    pub fn state(&self) -> &S {
        &self.folded.state
    }

    pub fn digest(&self) -> EventSetDigest {
        self.folded.digest
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// # Errors
    /// Those of the state's own `Serialize`.
    pub fn state_json(&self) -> Result<&str, &serde_json::Error> {
        self.state_json.as_deref()
    }

    /// What a later fold carries on from.
    pub fn into_state(self) -> FoldedState<S> {
        self.folded
    }
}
