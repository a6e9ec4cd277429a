//! What an aggregator is: a state for each session, and what an event does to it.

use serde::{Serialize, de::DeserializeOwned};

use crate::event::{Event, EventTime};

use super::snapshot::Snapshot;

/// Folds the events of a session into a state, and a state into a snapshot.
///
/// Synchronous and free of side effects, so that a batch can be folded again after a conflict, after a crash, or in a
/// test, and always comes out the same. What an aggregator needs to know of the world (which events were stored
/// before, what time it is) is handed to it.
pub trait Aggregator: Send + Sync + 'static {
    /// Kept as JSON with the session; the default is that of a session without events.
    type State: Clone + Default + Serialize + DeserializeOwned + Send + Sync + Unpin + 'static;

    /// Name and version, like `convergent/1`. A state that carries another is never read: the session is folded again
    /// from its stored events. Change it whenever the same events would give another state.
    fn id(&self) -> &'static str;

    /// Takes one event into the state. `standing` is the event with the same natural key that was taken before.
    fn apply(&self, state: &mut Self::State, event: &Event, standing: Option<&Event>) -> Verdict;

    /// The state as rows show it. With `as_of`, time-outs are applied as seen at that instant.
    fn snapshot(&self, state: &Self::State, as_of: Option<EventTime>) -> Snapshot;
}

/// What became of an event.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the state now, and is to be stored.
    Applied,
    /// It was known; nothing changed.
    Duplicate,
    /// It was known in another version, which it replaces. The state still holds the other version: the session is to
    /// be folded again from its events.
    Supersedes,
}
