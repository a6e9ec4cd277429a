//! A store in memory, with the rules of the real one.

use std::collections::{BTreeMap, HashMap};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    event::{Event, EventKey, EventSetDigest, EventTime, SessionId},
    fold::{
        AggregatorId, Aggregators, BatchFold, FoldedState, LoadedSession, LoadedSideState, Outcome, SessionAggregator,
        SessionChange, SideChange, Snapshot, Standing, Status, Version,
    },
};

/// A state can't be written as JSON, or can't be read from it again.
#[derive(Debug, thiserror::Error)]
#[error("the state of {aggregator} does not go through JSON: {error}")]
pub struct NoJson {
    aggregator: AggregatorId,
    error: serde_json::Error,
}

/// States as the store keeps them: JSON whose members are in no order.
pub(super) fn to_json<T: Serialize + ?Sized>(id: AggregatorId, state: &T) -> Result<Value, NoJson> {
    let read = serde_json::to_string(state).and_then(|text| serde_json::from_str(&text));
    read.map_err(|error| NoJson { aggregator: id, error })
}

pub(super) fn from_json<T: DeserializeOwned>(id: AggregatorId, json: &Value) -> Result<T, NoJson> {
    serde_json::from_str(&json.to_string()).map_err(|error| NoJson { aggregator: id, error })
}

/// What is stored of sessions, their events, and the states of the aggregators beside theirs.
///
/// What the real store guards by keys and versions is asserted: an added event must be new, a replaced one must be
/// there, and a session must be as it was read.
pub struct Memory<'a, A> {
    aggregators: &'a Aggregators<A>,
    sessions: BTreeMap<SessionId, Row>,
    events: HashMap<SessionId, BTreeMap<EventKey, Event>>,
    /// By session, aggregator and key.
    aggregates: BTreeMap<(SessionId, String, String), Value>,
}

struct Row {
    version: Version,
    status: Status,
    /// None where it counts as another version's.
    state: Option<Value>,
    digest: EventSetDigest,
    sides: Vec<String>,
}

impl<'a, A: SessionAggregator> Memory<'a, A> {
    pub fn new(aggregators: &'a Aggregators<A>) -> Self {
        Self { aggregators, sessions: BTreeMap::new(), events: HashMap::new(), aggregates: BTreeMap::new() }
    }

    /// Folds a batch and stores what came of it.
    ///
    /// # Errors
    /// If a state doesn't go through JSON.
    ///
    /// # Panics
    /// If the fold breaks a rule of the store.
    pub fn take(&mut self, batch: &[Event]) -> Result<Outcome, NoJson> {
        let mut fold = BatchFold::new(self.aggregators, self.standing(batch)?);
        batch.iter().for_each(|event| fold.push(event));
        let wanted = fold.sessions_to_refold();
        let stored: Vec<Event> = wanted.iter().flat_map(|id| self.events(id).cloned()).collect();
        let folded = fold.finish(stored.into_iter());
        for change in folded.changes {
            self.write(change)?;
        }
        Ok(folded.outcome)
    }

    /// Makes a session's state another version's, which is not carried on from.
    pub fn outdate_session(&mut self, session_id: &SessionId) {
        if let Some(row) = self.sessions.get_mut(session_id) {
            row.state = None;
        }
    }

    /// Makes the states of the aggregators beside the session's another version's.
    pub fn outdate_sides(&mut self, session_id: &SessionId) {
        if let Some(row) = self.sessions.get_mut(session_id) {
            row.sides = row.sides.iter().map(|id| format!("{id}0")).collect();
        }
        let of_session = self.aggregates.iter_mut().filter(|((session, ..), _)| session == session_id);
        of_session.for_each(|(_, state)| *state = "another version's".into());
    }

    fn standing(&self, batch: &[Event]) -> Result<Standing<A::State>, NoJson> {
        let mut standing = Standing::default();
        for event in batch {
            let id = &event.session_id;
            let Some(row) = self.sessions.get(id) else { continue };
            if !standing.sessions.contains_key(id) {
                standing.sessions.insert(id.clone(), self.load(row)?);
                standing.side_states.insert(id.clone(), self.load_sides(id, batch));
            }
            if let Some(stored) = self.events.get(id).and_then(|events| events.get(&event.key())) {
                standing.events.entry(id.clone()).or_default().insert(event.key(), stored.clone());
            }
        }
        Ok(standing)
    }

    fn load(&self, row: &Row) -> Result<LoadedSession<A::State>, NoJson> {
        let Row { version, status, state, digest, sides } = row;
        let state = state.as_ref().map(|state| from_json(self.aggregators.session.id(), state)).transpose()?;
        let folded = state.map(|state| FoldedState { state, digest: *digest });
        Ok(LoadedSession { version: *version, status: *status, folded, sides: sides.clone() })
    }

    /// Only the states that events in the batch belong to, as the real store reads them.
    fn load_sides(&self, session_id: &SessionId, batch: &[Event]) -> Vec<LoadedSideState> {
        let of_session = batch.iter().filter(|event| event.session_id == *session_id);
        let mut keys: Vec<_> = of_session.flat_map(|event| self.aggregators.sides.keys_of(event)).collect();
        keys.sort_unstable();
        keys.dedup();
        let load = |(name, key): (&str, std::borrow::Cow<'_, str>)| {
            let stored = self.aggregates.get(&(session_id.clone(), name.to_owned(), key.clone().into_owned()))?;
            let state = RawValue::from_string(stored.to_string()).ok()?;
            Some(LoadedSideState { aggregator: name.to_owned(), key: key.into_owned(), state })
        };
        keys.into_iter().filter_map(load).collect()
    }

    fn write(&mut self, change: SessionChange<'_, A::State>) -> Result<(), NoJson> {
        let SessionChange { session_id, read, folded, added, replaced, sides, .. } = change;
        let stored = self.sessions.get(&session_id).map(|row| (row.version, row.status));
        assert_eq!(stored, read, "a session is not as it was read");
        let events = self.events.entry(session_id.clone()).or_default();
        for event in added {
            assert!(events.insert(event.key(), event.clone()).is_none(), "an added event was stored before");
        }
        for event in replaced {
            assert!(events.insert(event.key(), event.clone()).is_some(), "a replaced event was not stored");
        }
        for side in sides {
            self.write_side(&session_id, side)?;
        }
        let row = Row {
            version: read.map_or(Version::FIRST, |(version, _)| version.next()),
            status: folded.snapshot().status,
            state: Some(to_json(self.aggregators.session.id(), folded.state())?),
            digest: folded.digest(),
            sides: self.aggregators.sides.ids().map(|id| id.to_string()).collect(),
        };
        self.sessions.insert(session_id, row);
        Ok(())
    }

    fn write_side(&mut self, session_id: &SessionId, side: SideChange) -> Result<(), NoJson> {
        let SideChange { id, anew, states } = side;
        if anew {
            self.aggregates.retain(|(session, name, _), _| !(session == session_id && name == id.name()));
        }
        for (key, state) in states {
            let state = state.map_err(|error| NoJson { aggregator: id, error })?;
            self.aggregates.insert((session_id.clone(), id.name().to_owned(), key), to_json(id, &state)?);
        }
        Ok(())
    }

    /// The stored events of a session, by key.
    pub fn events(&self, session_id: &SessionId) -> impl Iterator<Item = &Event> {
        self.events.get(session_id).into_iter().flat_map(BTreeMap::values)
    }

    pub fn sessions(&self) -> impl Iterator<Item = &SessionId> {
        self.sessions.keys()
    }

    /// The digest of a session's events, as it was carried on; of no events, if there is no session.
    pub fn digest(&self, session_id: &SessionId) -> EventSetDigest {
        self.sessions.get(session_id).map(|row| row.digest).unwrap_or_default()
    }

    /// A session's stored state, as JSON; none without a session.
    pub fn state(&self, session_id: &SessionId) -> Option<&Value> {
        self.sessions.get(session_id)?.state.as_ref()
    }

    /// A session as its stored state shows it; none without a session.
    ///
    /// # Errors
    /// If the state doesn't go through JSON.
    pub fn snapshot(&self, session_id: &SessionId, as_of: Option<EventTime>) -> Result<Option<Snapshot>, NoJson> {
        let aggregator = &self.aggregators.session;
        let state = self.state(session_id).map(|state| from_json(aggregator.id(), state)).transpose()?;
        Ok(state.map(|state| aggregator.snapshot(&state, as_of)))
    }

    /// The states of the aggregators beside the session's: session, aggregator, key and state.
    pub fn aggregates(&self) -> impl Iterator<Item = (&SessionId, &str, &str, &Value)> {
        self.aggregates.iter().map(|((session, name, key), state)| (session, name.as_str(), key.as_str(), state))
    }
}
