//! What is checked: an aggregator beside the session's, or the session's own.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::{
    event::{Event, EventTime, SessionId},
    fold::{Aggregator, Aggregators, Convergent, SessionAggregator, SideAggregators, Snapshot},
};

use super::{
    delivery::{Delivery, Resume},
    memory::{Memory, NoJson, from_json, to_json},
};

/// What came of a delivery, by what it belongs to, such as `session s0`.
pub(super) type Results = BTreeMap<String, Value>;

pub(super) trait Subject {
    /// Through the fold of batches and a store. Also how many events were applied.
    fn deliver(&self, delivery: &Delivery) -> Result<(u64, Results), NoJson>;

    /// Through [`Aggregator::apply`] alone; where a batch ends, the states go through JSON.
    fn apply(&self, delivery: &Delivery) -> Result<Results, NoJson>;
}

pub(super) struct Side<A> {
    aggregator: A,
    aggregators: Aggregators<Convergent>,
}

impl<A: Aggregator + Clone> Side<A> {
    pub(super) fn new(aggregator: A) -> Self {
        let sides = SideAggregators::new().with(aggregator.clone());
        Self { aggregator, aggregators: Aggregators { session: Convergent::default(), sides } }
    }
}

impl<A: Aggregator> Subject for Side<A> {
    fn deliver(&self, delivery: &Delivery) -> Result<(u64, Results), NoJson> {
        let (applied, memory) = store(&self.aggregators, delivery)?;
        let states = memory.aggregates().map(|(session, _, key, state)| (label(session, key), state.clone()));
        Ok((applied, states.collect()))
    }

    fn apply(&self, delivery: &Delivery) -> Result<Results, NoJson> {
        apply(&self.aggregator, delivery, |event| Some(label(&event.session_id, &self.aggregator.key(event)?)))
    }
}

pub(super) struct Own<A> {
    aggregators: Aggregators<A>,
}

impl<A: SessionAggregator> Own<A> {
    pub(super) fn new(aggregator: A) -> Self {
        Self { aggregators: Aggregators::new(aggregator) }
    }

    /// When the session has been silent for as long as makes it time out.
    fn time_out_of(&self, snapshot: &Snapshot) -> Option<EventTime> {
        let timeout = chrono::TimeDelta::from_std(self.aggregators.session.inactivity_timeout()).ok()?;
        EventTime::from_utc(snapshot.last_event_at.as_utc().checked_add_signed(timeout)?).ok()
    }

    fn result(&self, memory: &Memory<'_, A>, session: &SessionId) -> Result<Value, NoJson> {
        let id = self.aggregators.session.id();
        let snapshot = memory.snapshot(session, None)?;
        let timed_out = match snapshot.as_ref().and_then(|snapshot| self.time_out_of(snapshot)) {
            Some(as_of) => memory.snapshot(session, Some(as_of))?,
            None => None,
        };
        Ok(json!({
            "snapshot": to_json(id, &snapshot)?,
            "snapshot_after_silence": to_json(id, &timed_out)?,
            "state": memory.state(session),
            "digest": memory.digest(session).to_string(),
        }))
    }
}

impl<A: SessionAggregator> Subject for Own<A> {
    fn deliver(&self, delivery: &Delivery) -> Result<(u64, Results), NoJson> {
        let (applied, memory) = store(&self.aggregators, delivery)?;
        let results = memory.sessions().map(|session| Ok((label(session, ""), self.result(&memory, session)?)));
        Ok((applied, results.collect::<Result<_, _>>()?))
    }

    fn apply(&self, delivery: &Delivery) -> Result<Results, NoJson> {
        apply(&self.aggregators.session, delivery, |event| Some(label(&event.session_id, "")))
    }
}

fn label(session: &SessionId, key: &str) -> String {
    if key.is_empty() { format!("session {session}") } else { format!("session {session}, key {key:?}") }
}

fn store<'a, A: SessionAggregator>(
    aggregators: &'a Aggregators<A>,
    delivery: &Delivery,
) -> Result<(u64, Memory<'a, A>), NoJson> {
    let mut memory = Memory::new(aggregators);
    let mut applied = 0;
    for batch in &delivery.0 {
        if batch.resume == Resume::Refold {
            for event in &batch.events {
                memory.outdate_session(&event.session_id);
                memory.outdate_sides(&event.session_id);
            }
        }
        applied += memory.take(&batch.events)?.applied;
    }
    Ok((applied, memory))
}

fn apply<A: Aggregator>(
    aggregator: &A,
    delivery: &Delivery,
    label: impl Fn(&Event) -> Option<String>,
) -> Result<Results, NoJson> {
    let id = aggregator.id();
    let mut taken = HashSet::new();
    let mut states: BTreeMap<String, A::State> = BTreeMap::new();
    for (index, batch) in delivery.0.iter().enumerate() {
        if index > 0 {
            for state in states.values_mut() {
                *state = from_json(id, &to_json(id, state)?)?;
            }
        }
        for event in &batch.events {
            if let Some(label) = label(event).filter(|_| taken.insert((&event.session_id, event.key()))) {
                let _ = aggregator.apply(states.entry(label).or_default(), event);
            }
        }
    }
    states.iter().map(|(label, state)| Ok((label.clone(), to_json(id, state)?))).collect()
}
