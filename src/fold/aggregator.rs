//! What an aggregator is: a state, and what an event does to it.

use std::{borrow::Cow, fmt};

use serde::{Serialize, de::DeserializeOwned};

use crate::event::{Event, EventTime};

use super::snapshot::Snapshot;

/// Folds events into a state.
///
/// Synchronous and free of side effects, so that a batch can be folded again after a conflict, after a crash, or in a
/// test, and always comes out the same.
///
/// An aggregator is handed the events that the session's aggregator lets into the session's set, each once, in any
/// order: duplicates and replaced versions of an event are dealt with before. Where an event is replaced, the state is
/// made anew from the stored events. So the one rule is that the order of [`Self::apply`] must not matter; the module
/// `laws` (a feature of the library) checks it.
pub trait Aggregator: Send + Sync + 'static {
    /// Kept as JSON; the default is that of no events at all.
    type State: Clone + Default + Serialize + DeserializeOwned + Send + Sync + Unpin + 'static;

    /// Its name and version. Raise the version whenever the same events would give another state: a state of another
    /// version is never carried on from, but made anew from the stored events.
    fn id(&self) -> AggregatorId;

    /// Which of the session's states the event belongs to; none if to no state at all. Without it a session has one
    /// state, with the empty key. Not asked of the session's own aggregator.
    ///
    /// Of a key over 1,000 bytes the beginning is stored, and a digest of the whole.
    fn key<'e>(&self, event: &'e Event) -> Option<Cow<'e, str>> {
        let _ = event;
        Some(Cow::Borrowed(""))
    }

    /// Takes one event into the state, or refuses it and leaves the state as it is.
    fn apply(&self, state: &mut Self::State, event: &Event) -> Verdict;
}

/// The aggregator that decides what is in a session's set of events, and what the session's row says.
pub trait SessionAggregator: Aggregator {
    /// Judges an event whose natural key another one has that is in the set. The state is that of the set.
    ///
    /// By default the smaller (`emitted_at`, `causation_id`) stands.
    fn judge_known(&self, state: &Self::State, event: &Event, standing: &Event) -> KnownVerdict {
        let _ = state;
        if event.precedes(standing) { KnownVerdict::Supersedes } else { KnownVerdict::Duplicate }
    }

    /// The state as the row shows it. With `as_of`, time-outs are applied as seen at that instant.
    fn snapshot(&self, state: &Self::State, as_of: Option<EventTime>) -> Snapshot;

    /// Takes note that the session was found timed out at that instant. Nothing to note where a later event simply
    /// makes another snapshot.
    fn time_out(&self, state: &mut Self::State, as_of: EventTime) {
        let _ = (state, as_of);
    }

    /// Silence after which a session is timed out.
    fn inactivity_timeout(&self) -> std::time::Duration;

    /// Whether the order in which events arrive makes a difference. If so, events are stored with it, and a session
    /// can't be folded again by another such aggregator.
    fn depends_on_order(&self) -> bool {
        false
    }
}

/// Name and version of an aggregator, like `convergent/1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AggregatorId {
    name: &'static str,
    version: u32,
}

impl AggregatorId {
    /// # Panics
    /// If the name is not made of 1 to 63 lower-case letters, digits and `_`: at compile time, in a `const`.
    pub const fn new(name: &'static str, version: u32) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 63, "an aggregator's name has 1 to 63 characters");
        let mut index = 0;
        while index < bytes.len() {
            assert!(
                matches!(bytes[index], b'a'..=b'z' | b'0'..=b'9' | b'_'),
                "an aggregator's name is made of lower-case letters, digits and `_`"
            );
            index += 1;
        }
        Self { name, version }
    }

    pub fn name(self) -> &'static str {
        self.name
    }
}

impl fmt::Display for AggregatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

/// What became of an event whose key is new.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the state now.
    Applied,
    /// It says nothing new; the state is as it was. From the session's own aggregator: the event isn't kept.
    Duplicate,
    /// It is not taken; the state is as it was. From the session's own aggregator: the event isn't kept.
    Rejected(Rejection),
}

/// What becomes of an event whose key is known.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownVerdict {
    Duplicate,
    /// It stands in place of the other: the session is folded again from its events.
    Supersedes,
    Rejected(Rejection),
}

/// Why an event was rejected, as it is counted: a few words in snake case. A constant, so that it can't quote an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rejection(pub &'static str);

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
