//! One session in the fold of a batch.

use foldhash::{HashMap, HashMapExt};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::{Event, EventKey, EventSetDigest, SessionId};

use super::{
    aggregator::{AggregatorId, KnownVerdict, Rejection, SessionAggregator, Verdict},
    aggregators::{Aggregators, SideStates},
    folded::FoldedSession,
    snapshot::Status,
    standing::{FoldedState, LoadedSession, Standing, Version},
};

/// One session that a batch changed.
#[derive(Debug)]
pub struct SessionChange<'e, S> {
    pub session_id: SessionId,
    /// The version and status that were read; none for a session that isn't stored.
    pub read: Option<(Version, Status)>,
    /// The digest that the fold began with; none where it began anew. A session that was deleted and made again may have
    /// come to the same version, but hardly by the same events.
    pub read_digest: Option<EventSetDigest>,
    pub folded: FoldedSession<S>,
    /// Events that are not stored yet, in the order in which they came.
    pub added: Vec<&'e Event>,
    /// Events that stand in place of stored ones with the same keys.
    pub replaced: Vec<&'e Event>,
    /// What changes in the side aggregators' states.
    pub sides: Vec<SideChange>,
}

/// What changes in one side aggregator's states of a session.
#[derive(Debug)]
pub struct SideChange {
    pub id: AggregatorId,
    /// Whether these are all of the session's states, so that others that are stored go.
    pub anew: bool,
    /// Key and state. An error is one of the state's `Serialize`.
    pub states: Vec<(String, serde_json::Result<Box<RawValue>>)>,
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Applied,
    /// Also one that stands in place of another with its key, which was counted before.
    Duplicate,
    /// Of a session that was deleted.
    Ignored,
    Rejected(Rejection),
}

/// Where a session's event of some key comes from.
#[derive(Clone)]
enum Origin<'e> {
    /// Boxed, since the others are small and most.
    Stored(Box<Event>),
    /// With a number that grows in the order of arrival.
    Added(usize, &'e Event),
    Replaced(&'e Event),
}

impl Origin<'_> {
    fn event(&self) -> &Event {
        match self {
            Origin::Stored(event) => event,
            Origin::Added(_, event) | Origin::Replaced(event) => event,
        }
    }
}

#[derive(Clone)]
pub(super) struct Session<'e, S> {
    read: Option<(Version, Status)>,
    read_digest: Option<EventSetDigest>,
    folded: FoldedState<S>,
    /// Whether `folded` is to be made anew from the events.
    refold: bool,
    sides: Vec<Side>,
    /// By key: stored events that the batch names again, and the batch's own.
    events: HashMap<EventKey, Origin<'e>>,
}

#[derive(Clone)]
struct Side {
    states: SideStates,
    refold: bool,
}

impl<'e, S: Clone + Default + Serialize> Session<'e, S> {
    pub(super) fn open<A>(aggregators: &Aggregators<A>, standing: &mut Standing<S>, session_id: &SessionId) -> Self {
        let stored = standing.events.remove(session_id).unwrap_or_default();
        let events = stored.into_iter().map(|(key, event)| (key, Origin::Stored(Box::new(event)))).collect();
        let loaded = standing.sessions.remove(session_id);
        let mut sides: Vec<Side> =
            aggregators.sides.open().into_iter().map(|states| Side { states, refold: false }).collect();
        if let Some(loaded) = &loaded {
            for side in &mut sides {
                let id = side.states.id.to_string();
                side.refold = !loaded.sides.contains(&id);
            }
            for stored in standing.side_states.remove(session_id).unwrap_or_default() {
                let side = sides.iter_mut().find(|side| side.states.id.name() == stored.aggregator);
                if let Some(side) = side.filter(|side| !side.refold) {
                    side.refold = !side.states.load(stored.key, &stored.state);
                }
            }
        }
        match loaded {
            Some(LoadedSession { version, status, folded, .. }) => {
                let (refold, read) = (folded.is_none(), Some((version, status)));
                let read_digest = folded.as_ref().map(|folded| folded.digest);
                Session { read, read_digest, folded: folded.unwrap_or_default(), refold, sides, events }
            }
            None => {
                let folded = FoldedState::default();
                Session { read: None, read_digest: None, folded, refold: false, sides, events }
            }
        }
    }

    /// A session of which nothing is carried on: everything comes from its stored events.
    pub(super) fn anew<A>(aggregators: &Aggregators<A>, read: Option<(Version, Status)>) -> Self {
        let sides = aggregators.sides.open().into_iter().map(|states| Side { states, refold: true }).collect();
        let folded = FoldedState::default();
        Session { read, read_digest: None, folded, refold: true, sides, events: HashMap::new() }
    }

    pub(super) fn take<A: SessionAggregator<State = S>>(&mut self, aggregator: &A, event: &'e Event) -> Fate {
        let key = event.key();
        let Some(known) = self.events.get(&key) else { return self.take_new(aggregator, key, event) };
        match aggregator.judge_known(&self.folded.state, event, known.event()) {
            KnownVerdict::Duplicate => Fate::Duplicate,
            KnownVerdict::Rejected(rejection) => Fate::Rejected(rejection),
            KnownVerdict::Supersedes => {
                let origin = match known {
                    Origin::Stored(_) | Origin::Replaced(_) => Origin::Replaced(event),
                    Origin::Added(index, _) => Origin::Added(*index, event),
                };
                self.events.insert(key, origin);
                self.refold = true;
                self.sides.iter_mut().for_each(|side| side.refold = true);
                Fate::Duplicate
            }
        }
    }

    fn take_new<A: SessionAggregator<State = S>>(&mut self, aggregator: &A, key: EventKey, event: &'e Event) -> Fate {
        match aggregator.apply(&mut self.folded.state, event) {
            Verdict::Applied => {
                self.folded.digest.add(event);
                self.sides.iter_mut().for_each(|side| side.states.take(event));
                self.events.insert(key, Origin::Added(self.events.len(), event));
                Fate::Applied
            }
            Verdict::Duplicate => Fate::Duplicate,
            Verdict::Rejected(rejection) => Fate::Rejected(rejection),
        }
    }

    /// Whether its stored events are needed.
    pub(super) fn needs_stored_events(&self) -> bool {
        self.read.is_some() && self.refolds()
    }

    fn refolds(&self) -> bool {
        self.refold || self.sides.iter().any(|side| side.refold)
    }

    /// Makes what can't be carried on anew, from the batch's own events. The stored ones follow.
    pub(super) fn begin_refold<A: SessionAggregator<State = S>>(&mut self, aggregator: &A) {
        if self.refold {
            self.folded = FoldedState::default();
        }
        self.sides.iter_mut().filter(|side| side.refold).for_each(|side| side.states.clear());
        if self.refolds() {
            for event in self.own_events() {
                self.refold_one(aggregator, event);
            }
        }
    }

    /// The batch's own events of this session, in the order in which they came.
    fn own_events(&self) -> Vec<&'e Event> {
        let own = self.events.values().filter_map(|origin| match origin {
            Origin::Stored(_) => None,
            Origin::Added(index, event) => Some((*index, *event)),
            Origin::Replaced(event) => Some((0, *event)),
        });
        let mut own: Vec<_> = own.collect();
        own.sort_unstable_by_key(|(index, _)| *index);
        own.into_iter().map(|(_, event)| event).collect()
    }

    /// Takes a stored event, unless an event of the batch stands in its place.
    pub(super) fn take_stored<A: SessionAggregator<State = S>>(&mut self, aggregator: &A, event: &Event) {
        if matches!(self.events.get(&event.key()), None | Some(Origin::Stored(_))) {
            self.refold_one(aggregator, event);
        }
    }

    fn refold_one<A: SessionAggregator<State = S>>(&mut self, aggregator: &A, event: &Event) {
        if self.refold {
            self.folded.digest.add(event);
            // Each key stands once here, so nothing can be a duplicate.
            let _ = aggregator.apply(&mut self.folded.state, event);
        }
        for side in self.sides.iter_mut().filter(|side| side.refold) {
            side.states.take(event);
        }
    }

    /// The change, if there is one. A session that was deleted while it was folded again has no events left: there is
    /// nothing to say of it.
    pub(super) fn close<A: SessionAggregator<State = S>>(
        self,
        aggregator: &A,
        session_id: SessionId,
    ) -> Option<SessionChange<'e, S>> {
        let own = self.events.values().any(|origin| !matches!(origin, Origin::Stored(_)));
        let is_empty = self.folded.digest == Default::default();
        if is_empty || !(own || self.refolds()) {
            return None;
        }
        let sides = self.sides.iter().map(|Side { states, refold }| SideChange {
            id: states.id,
            anew: *refold,
            states: states.changed(),
        });
        let sides = sides.collect();
        let (mut added, mut replaced) = (Vec::new(), Vec::new());
        for origin in self.events.into_values() {
            match origin {
                Origin::Added(index, event) => added.push((index, event)),
                Origin::Replaced(event) => replaced.push(event),
                Origin::Stored(_) => {}
            }
        }
        added.sort_unstable_by_key(|(index, _)| *index);
        replaced.sort_unstable_by_key(|event| event.key());
        let added = added.into_iter().map(|(_, event)| event).collect();
        let Self { read, read_digest, folded, .. } = self;
        let folded = FoldedSession::new(aggregator, folded, None);
        Some(SessionChange { session_id, read, read_digest, folded, added, replaced, sides })
    }
}
