//! The fold of a batch: what its events change, given what stands in the store.
//!
//! The store is read before ([`Standing`]) and written after ([`Folded`]). Between the two, a session's version says
//! whether what was read still holds.

use std::collections::HashMap;

use crate::event::{Event, EventKey, SessionId};

use super::{
    aggregator::{Aggregator, Verdict},
    snapshot::Status,
};

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
    pub state: Option<S>,
}

/// What the store holds of the sessions and of the very events in a batch.
#[derive(Clone, Debug)]
pub struct Standing<S> {
    pub sessions: HashMap<SessionId, LoadedSession<S>>,
    /// The stored events that have the same keys as events in the batch.
    pub events: HashMap<SessionId, HashMap<EventKey, Event>>,
}

impl<S> Default for Standing<S> {
    fn default() -> Self {
        Self { sessions: HashMap::new(), events: HashMap::new() }
    }
}

/// What became of the events of a batch. A superseding event counts as a duplicate: its key was counted before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub applied: u64,
    pub duplicates: u64,
}

/// One session that a batch changed.
#[derive(Clone, Debug)]
pub struct SessionChange<'e, S> {
    pub session_id: SessionId,
    /// The version and status that were read; none for a session that isn't stored.
    pub read: Option<(Version, Status)>,
    pub state: S,
    /// Events that are not stored yet.
    pub added: Vec<&'e Event>,
    /// Events that stand in place of stored ones with the same keys.
    pub replaced: Vec<&'e Event>,
}

/// The result of a fold.
#[must_use]
#[derive(Clone, Debug)]
pub struct Folded<'e, S> {
    /// The sessions that change, sorted by id.
    pub changes: Vec<SessionChange<'e, S>>,
    pub outcome: Outcome,
}

/// Where a session's event of some key comes from.
#[derive(Clone)]
enum Origin<'e> {
    Stored(Event),
    Added(&'e Event),
    Replaced(&'e Event),
}

impl Origin<'_> {
    fn event(&self) -> &Event {
        match self {
            Origin::Stored(event) => event,
            Origin::Added(event) | Origin::Replaced(event) => event,
        }
    }
}

#[derive(Clone)]
struct Session<'e, S> {
    read: Option<(Version, Status)>,
    state: S,
    /// By key: stored events that the batch names again, and the batch's own.
    events: HashMap<EventKey, Origin<'e>>,
    must_refold: bool,
}

impl<'e, S> Session<'e, S> {
    fn is_changed(&self) -> bool {
        self.must_refold || self.events.values().any(|origin| !matches!(origin, Origin::Stored(_)))
    }
}

/// A fold in progress: push the events of a batch in their order, then finish.
pub struct BatchFold<'e, 'a, A: Aggregator> {
    aggregator: &'a A,
    standing: Standing<A::State>,
    sessions: HashMap<SessionId, Session<'e, A::State>>,
    outcome: Outcome,
}

impl<'e, 'a, A: Aggregator> BatchFold<'e, 'a, A> {
    pub fn new(aggregator: &'a A, standing: Standing<A::State>) -> Self {
        Self { aggregator, standing, sessions: HashMap::new(), outcome: Outcome::default() }
    }

    pub fn push(&mut self, event: &'e Event) {
        if !self.sessions.contains_key(&event.session_id) {
            let session = open(&mut self.standing, &event.session_id);
            self.sessions.insert(event.session_id.clone(), session);
        }
        #[expect(clippy::expect_used, reason = "it was inserted above where it was missing")]
        let session = self.sessions.get_mut(&event.session_id).expect("the session is open");
        let key = event.key();
        let known = session.events.get(&key);
        match self.aggregator.apply(&mut session.state, event, known.map(Origin::event)) {
            Verdict::Applied => {
                self.outcome.applied += 1;
                session.events.insert(key, Origin::Added(event));
            }
            Verdict::Duplicate => self.outcome.duplicates += 1,
            Verdict::Supersedes => {
                self.outcome.duplicates += 1;
                session.must_refold = true;
                let origin = match known {
                    Some(Origin::Stored(_) | Origin::Replaced(_)) => Origin::Replaced(event),
                    Some(Origin::Added(_)) | None => Origin::Added(event),
                };
                session.events.insert(key, origin);
            }
        }
    }

    /// The sessions whose state can't be carried on: their stored events must be handed to [`Self::finish`].
    pub fn sessions_to_refold(&self) -> Vec<SessionId> {
        let wanted = self.sessions.iter().filter(|(_, session)| session.must_refold && session.read.is_some());
        wanted.map(|(session_id, _)| session_id.clone()).collect()
    }

    /// Ends the fold. `stored` are all stored events of [`Self::sessions_to_refold`], in any order; they are taken
    /// one at a time, so that a long session needs no room.
    pub fn finish(self, stored: impl Iterator<Item = Event>) -> Folded<'e, A::State> {
        let mut refolding = self.begin_refold();
        for event in stored {
            refolding.take_stored(&event);
        }
        refolding.finish()
    }

    /// The same as [`Self::finish`], for a caller that reads the stored events bit by bit.
    pub fn begin_refold(mut self) -> Refold<'e, 'a, A> {
        for session in self.sessions.values_mut().filter(|session| session.must_refold) {
            session.state = A::State::default();
            for origin in session.events.values() {
                if let Origin::Added(event) | Origin::Replaced(event) = origin {
                    // Each key stands once here, so nothing can be a duplicate.
                    let _ = self.aggregator.apply(&mut session.state, event, None);
                }
            }
        }
        Refold { aggregator: self.aggregator, sessions: self.sessions, outcome: self.outcome }
    }
}

/// A fold whose superseded sessions are being folded again from what is stored.
#[must_use]
pub struct Refold<'e, 'a, A: Aggregator> {
    aggregator: &'a A,
    sessions: HashMap<SessionId, Session<'e, A::State>>,
    outcome: Outcome,
}

// Derived, it would ask for `A: Clone`.
impl<A: Aggregator> Clone for Refold<'_, '_, A> {
    fn clone(&self) -> Self {
        Self { aggregator: self.aggregator, sessions: self.sessions.clone(), outcome: self.outcome }
    }
}

impl<'e, A: Aggregator> Refold<'e, '_, A> {
    /// Takes a stored event of a session to refold, unless an event of the batch stands in its place.
    pub fn take_stored(&mut self, event: &Event) {
        let Some(session) = self.sessions.get_mut(&event.session_id).filter(|session| session.must_refold) else {
            return;
        };
        if matches!(session.events.get(&event.key()), None | Some(Origin::Stored(_))) {
            let _ = self.aggregator.apply(&mut session.state, event, None);
        }
    }

    pub fn finish(self) -> Folded<'e, A::State> {
        let changed = self.sessions.into_iter().filter(|(_, session)| session.is_changed());
        let mut changes: Vec<_> = changed.map(|(session_id, session)| close(session_id, session)).collect();
        changes.sort_unstable_by(|a, b| a.session_id.cmp(&b.session_id));
        Folded { changes, outcome: self.outcome }
    }
}

fn open<'e, S: Default>(standing: &mut Standing<S>, session_id: &SessionId) -> Session<'e, S> {
    let stored = standing.events.remove(session_id).unwrap_or_default();
    let events: HashMap<_, _> = stored.into_iter().map(|(key, event)| (key, Origin::Stored(event))).collect();
    match standing.sessions.remove(session_id) {
        Some(LoadedSession { version, status, state }) => {
            let must_refold = state.is_none();
            Session { read: Some((version, status)), state: state.unwrap_or_default(), events, must_refold }
        }
        None => Session { read: None, state: S::default(), events, must_refold: false },
    }
}

fn close<S>(session_id: SessionId, session: Session<'_, S>) -> SessionChange<'_, S> {
    let (mut added, mut replaced) = (Vec::new(), Vec::new());
    for origin in session.events.into_values() {
        match origin {
            Origin::Added(event) => added.push(event),
            Origin::Replaced(event) => replaced.push(event),
            Origin::Stored(_) => {}
        }
    }
    added.sort_unstable_by_key(|event| event.key());
    replaced.sort_unstable_by_key(|event| event.key());
    SessionChange { session_id, read: session.read, state: session.state, added, replaced }
}
