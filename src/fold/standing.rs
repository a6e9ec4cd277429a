//! What a fold needs to know of the store.

use foldhash::{HashMap, HashSet};
use serde_json::value::RawValue;

use crate::event::{Event, EventKey, EventSetDigest, SessionId};

use super::{aggregators::SideAggregators, snapshot::Status};

/// Counts the changes to a session's row; 1 is its first. A write names the version that it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(i64);

impl Version {
    pub const FIRST: Version = Version(1);

    pub fn from_stored(version: i64) -> Self {
        Self(version)
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub fn get(self) -> i64 {
        self.0
    }
}

/// A session as it was read.
#[derive(Clone, Debug)]
pub struct LoadedSession<S> {
    pub version: Version,
    pub status: Status,
    /// None where the stored state is another aggregator's, or another version's.
    pub folded: Option<FoldedState<S>>,
    /// The side aggregators, by name and version, that have taken in all of the session's events.
    pub sides: Vec<String>,
}

/// A state and the set that it was folded from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldedState<S> {
    pub state: S,
    pub digest: EventSetDigest,
}

/// A side aggregator's state, as it was read.
#[derive(Clone, Debug)]
pub struct LoadedSideState {
    /// The aggregator's name.
    pub aggregator: String,
    pub key: String,
    pub state: Box<RawValue>,
}

/// What a fold has to learn from the store of the events in a batch. Of some sessions it may know already what stands.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'e> {
    /// Everything of these events' sessions is to be read.
    pub of_unknown_sessions: Vec<&'e Event>,
    /// Only side states are to be read of these events' sessions.
    pub of_known_sessions: Vec<&'e Event>,
    /// Those of the known sessions that may be stored.
    pub perhaps_stored: Vec<&'e Event>,
}

impl<'e> Wanted<'e> {
    /// Of somebody who knows nothing.
    pub fn everything_of(events: Vec<&'e Event>) -> Self {
        Self { of_unknown_sessions: events, ..Self::default() }
    }

    /// Whether nothing is to be read.
    pub fn is_nothing(&self, sides: &SideAggregators) -> bool {
        let no_sides = sides.is_empty() || self.of_known_sessions.is_empty();
        self.of_unknown_sessions.is_empty() && self.perhaps_stored.is_empty() && no_sides
    }
}

/// What the store holds of the sessions and of the very events in a batch.
#[derive(Clone, Debug)]
pub struct Standing<S> {
    pub sessions: HashMap<SessionId, LoadedSession<S>>,
    /// The stored events that have the same keys as events in the batch.
    pub events: HashMap<SessionId, HashMap<EventKey, Event>>,
    /// The side aggregators' states that events in the batch belong to.
    pub side_states: HashMap<SessionId, Vec<LoadedSideState>>,
    /// Sessions that an operator deleted: their events are ignored.
    pub deleted: HashSet<SessionId>,
}

impl<S> Default for Standing<S> {
    fn default() -> Self {
        let (sessions, deleted) = (HashMap::default(), HashSet::default());
        Self { sessions, events: HashMap::default(), side_states: HashMap::default(), deleted }
    }
}
