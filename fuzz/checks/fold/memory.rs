//! A store in memory, with the rules of the real one: what is added must be new, what is replaced must be there, and
//! states go through JSON.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;
use sessionfold::{
    event::{Event, EventKey, EventTime, SessionId},
    fold::{
        Aggregators, BatchFold, Convergent, ConvergentState, FoldedState, LoadedSession, LoadedSideState,
        SessionAggregator, SessionChange, Snapshot, Standing, Version,
    },
};

use super::tally::Count;

#[derive(Default)]
pub(super) struct Memory {
    pub(super) sessions: BTreeMap<SessionId, LoadedSession<ConvergentState>>,
    pub(super) events: BTreeMap<SessionId, BTreeMap<EventKey, Event>>,
    /// The side aggregators' states: by session, then by aggregator and key.
    sides: BTreeMap<SessionId, BTreeMap<(&'static str, String), Box<RawValue>>>,
}

pub(super) fn snapshot(
    aggregators: &Aggregators<Convergent>,
    folded: &FoldedState<ConvergentState>,
    as_of: Option<EventTime>,
) -> Snapshot {
    aggregators.session.snapshot(&folded.state, as_of)
}

impl Memory {
    /// Folds a batch and stores what came of it; returns how many events were applied.
    pub(super) fn take(&mut self, aggregators: &Aggregators<Convergent>, batch: &[Event]) -> u64 {
        let mut fold = BatchFold::new(aggregators, self.standing(aggregators, batch));
        batch.iter().for_each(|event| fold.push(event));
        let refolded = fold.sessions_to_refold();
        let stored: Vec<Event> = refolded.iter().flat_map(|id| self.events[id].values().cloned()).collect();
        let folded = fold.finish(stored.into_iter());
        assert_eq!(folded.outcome.rejected, []);
        assert_eq!(folded.outcome.applied + folded.outcome.duplicates, batch.len() as u64);
        for change in folded.changes {
            self.store(aggregators, change);
        }
        folded.outcome.applied
    }

    pub(super) fn forget_states(&mut self) {
        self.sessions.values_mut().for_each(|session| session.folded = None);
    }

    /// What it stored stays, and must not be carried on.
    pub(super) fn forget_sides(&mut self) {
        self.sessions.values_mut().for_each(|session| session.sides.clear());
    }

    pub(super) fn tallies(&self, session_id: &SessionId) -> BTreeMap<String, Count> {
        let read = |state: &RawValue| serde_json::from_str(state.get()).expect("a state is JSON");
        let states = self.sides.get(session_id).into_iter().flatten();
        states.map(|((_, key), state)| (key.clone(), read(state))).collect()
    }

    /// What the real store reads for a batch, and no more.
    fn standing(&self, aggregators: &Aggregators<Convergent>, batch: &[Event]) -> Standing<ConvergentState> {
        let mut standing = Standing::default();
        let mut side_states: HashMap<SessionId, BTreeMap<_, LoadedSideState>> = HashMap::new();
        for event in batch {
            let id = &event.session_id;
            let Some(session) = self.sessions.get(id) else { continue };
            standing.sessions.insert(id.clone(), session.clone());
            if let Some(stored) = self.events[id].get(&event.key()) {
                standing.events.entry(id.clone()).or_default().insert(event.key(), stored.clone());
            }
            for (name, key) in aggregators.sides.keys_of(event) {
                let place = (name, key.into_owned());
                if let Some(state) = self.sides.get(id).and_then(|states| states.get(&place)) {
                    let loaded =
                        LoadedSideState { aggregator: name.to_owned(), key: place.1.clone(), state: state.clone() };
                    side_states.entry(id.clone()).or_default().insert(place, loaded);
                }
            }
        }
        let listed = |(id, states): (_, BTreeMap<_, _>)| (id, states.into_values().collect());
        standing.side_states = side_states.into_iter().map(listed).collect();
        standing
    }

    fn store(&mut self, aggregators: &Aggregators<Convergent>, change: SessionChange<'_, ConvergentState>) {
        let id = change.session_id;
        let stands = self.sessions.get(&id).map(|session| (session.version, session.status));
        assert_eq!(change.read, stands, "what was read is what stands");

        let events = self.events.entry(id.clone()).or_default();
        for event in change.added {
            assert!(events.insert(event.key(), event.clone()).is_none(), "an added event was stored before");
        }
        for event in change.replaced {
            assert!(events.insert(event.key(), event.clone()).is_some(), "a replaced event was not stored");
        }

        let sides = self.sides.entry(id.clone()).or_default();
        for side in change.sides {
            if side.anew {
                sides.retain(|(name, _), _| *name != side.id.name());
            }
            let states = side.states.into_iter();
            sides.extend(states.map(|(key, state)| ((side.id.name(), key), state.expect("a state is JSON"))));
        }

        let json = serde_json::to_string(&change.folded.state).expect("a state is JSON");
        let state = serde_json::from_str(&json).expect("a state can be read again");
        let folded = FoldedState { state, digest: change.folded.digest };
        let session = LoadedSession {
            version: stands.map_or(Version::FIRST, |(version, _)| version.next()),
            status: snapshot(aggregators, &folded, None).status,
            folded: Some(folded),
            sides: aggregators.sides.ids().map(|id| id.to_string()).collect(),
        };
        self.sessions.insert(id, session);
    }
}
