//! The store as a member sees it: the tables, behind the member's gate.

use std::{cell::RefCell, collections::HashMap, future::pending, rc::Rc};

use serde_json::value::RawValue;
use sessionfold::{
    event::{Event, SessionId},
    fold::{Aggregators, BatchFold, Convergent, ConvergentState, Folded, LoadedSideState, Standing, Wanted},
    record::{NextOffset, TopicPartition},
    store::{BatchCommit, CommitError, Storage, StoreError},
};

use crate::{
    commit::Write,
    gate::{Call, Gate, Outcome},
    tables::Tables,
    trace::Trace,
};

pub struct Memory {
    pub member: usize,
    pub tables: Rc<RefCell<Tables>>,
    pub gate: Rc<Gate>,
    pub trace: Trace,
}

impl Memory {
    fn note(&self, what: &str) {
        self.trace.note(format!("    member {}: {what}", self.member));
    }

    /// Waits at the gate, then reads, or fails.
    async fn read<T>(&self, call: Call, read: impl FnOnce(&mut Tables) -> T) -> Result<T, StoreError> {
        let outcome = self.gate.pass(call).await;
        self.note(&format!("{call:?} {outcome}"));
        if let Some(error) = outcome.failure(call) {
            return Err(error);
        }
        let value = read(&mut self.tables.borrow_mut());
        if outcome == Outcome::Deadly {
            pending::<()>().await;
        }
        Ok(value)
    }

    /// What a commit comes to, before its answer sets out.
    fn write(&self, outcome: Outcome, write: Write) -> Result<(), CommitError> {
        let mut tables = self.tables.borrow_mut();
        match outcome {
            Outcome::Proceed | Outcome::AnswerLost | Outcome::Deadly => tables.commit(write),
            Outcome::Late => tables.commit_late(write),
            Outcome::Conflict => {
                tables.touch(&write.sessions());
                tables.commit(write)
            }
            Outcome::RequestLost => tables.prepare(&write),
            Outcome::Unavailable | Outcome::Contention | Outcome::StatementTimeout => Ok(()),
        }
    }
}

impl Storage<Convergent> for Memory {
    async fn checkpoints(
        &self,
        _group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError> {
        self.read(Call::Checkpoints, |tables| select(tables, partitions)).await
    }

    async fn create_checkpoints(
        &self,
        _group_id: &str,
        starts: &[(TopicPartition, NextOffset)],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError> {
        let create = |tables: &mut Tables| {
            for (partition, start) in starts {
                tables.checkpoints.entry(partition.clone()).or_insert(*start);
            }
            let partitions: Vec<_> = starts.iter().map(|(partition, _)| partition.clone()).collect();
            select(tables, &partitions)
        };
        self.read(Call::CreateCheckpoints, create).await
    }

    async fn standing(
        &self,
        aggregators: &Aggregators<Convergent>,
        wanted: &Wanted<'_>,
    ) -> Result<Standing<ConvergentState>, StoreError> {
        if wanted.is_nothing(&aggregators.sides) {
            return Ok(Standing::default());
        }
        let standing = self.read(Call::Standing, |tables| standing(tables, aggregators, wanted)).await?;
        if !standing.deleted.is_empty() {
            self.note("finds a session deleted");
        }
        Ok(standing)
    }

    async fn finish_fold<'e>(
        &self,
        fold: BatchFold<'e, '_, Convergent>,
    ) -> Result<Folded<'e, ConvergentState>, StoreError> {
        let sessions = fold.sessions_to_refold();
        if sessions.is_empty() {
            return Ok(fold.finish(std::iter::empty()));
        }
        let stored = |tables: &mut Tables| -> Vec<Event> {
            let events = sessions.iter().filter_map(|session| tables.events.get(session));
            events.flat_map(|events| events.values().cloned()).collect()
        };
        Ok(fold.finish(self.read(Call::FinishFold, stored).await?.into_iter()))
    }

    async fn commit_batch(&self, batch: &BatchCommit<'_, Convergent>) -> Result<(), CommitError> {
        let outcome = self.gate.pass(Call::Commit).await;
        let write = Write::of(batch);
        self.note(&format!("Commit of {} {outcome}", write.moves()));
        let deleted = write.sessions().intersection(&self.tables.borrow().deleted).count();
        let result = self.write(outcome, write);
        match &result {
            Ok(()) => {}
            Err(CommitError::Conflict) if deleted > 0 => self.note("conflict with a deletion"),
            Err(CommitError::Conflict) => self.note("conflict"),
            Err(CommitError::Fenced(_)) => self.note("fenced"),
            Err(CommitError::Store(_)) => self.note("refused"),
        }
        if outcome == Outcome::Deadly {
            pending::<()>().await;
        }
        // What was turned down before COMMIT got its answer.
        result?;
        outcome.failure(Call::Commit).map_or(Ok(()), |error| Err(error.into()))
    }
}

fn select(tables: &Tables, partitions: &[TopicPartition]) -> HashMap<TopicPartition, NextOffset> {
    let found = |partition: &TopicPartition| Some((partition.clone(), *tables.checkpoints.get(partition)?));
    partitions.iter().filter_map(found).collect()
}

pub fn standing(
    tables: &Tables,
    aggregators: &Aggregators<Convergent>,
    wanted: &Wanted<'_>,
) -> Standing<ConvergentState> {
    let mut standing = Standing::default();
    let unknown = wanted.of_unknown_sessions.iter().map(|event| &event.session_id);
    standing.deleted = unknown.filter(|session| tables.deleted.contains(*session)).cloned().collect();
    let is_stored = |event: &&&Event| tables.sessions.contains_key(&event.session_id);
    let found: Vec<&Event> = wanted.of_unknown_sessions.iter().filter(is_stored).copied().collect();
    for event in &found {
        let loaded = || tables.sessions[&event.session_id].loaded();
        standing.sessions.entry(event.session_id.clone()).or_insert_with(loaded);
    }
    for event in found.iter().chain(&wanted.perhaps_stored) {
        let session = &event.session_id;
        if let Some(stored) = tables.events.get(session).and_then(|events| events.get(&event.key())) {
            standing.events.entry(session.clone()).or_default().insert(event.key(), stored.clone());
        }
    }
    let mut sides: HashMap<(SessionId, String, String), LoadedSideState> = HashMap::new();
    for event in found.iter().chain(&wanted.of_known_sessions) {
        for (name, key) in aggregators.sides.keys_of(event) {
            let place = (event.session_id.clone(), name.to_owned(), key.into_owned());
            if let Some(state) = tables.aggregates.get(&place) {
                let state = RawValue::from_string(state.clone()).unwrap();
                let (aggregator, key) = (place.1.clone(), place.2.clone());
                sides.insert(place, LoadedSideState { aggregator, key, state });
            }
        }
    }
    for ((session, ..), state) in sides {
        standing.side_states.entry(session).or_default().push(state);
    }
    standing
}
