//! What the tables must hold, by a model that is too simple to be wrong: the set of each session's events, built from
//! the records that the checkpoints passed. It knows no batches, versions or retries.

use std::collections::{BTreeMap, BTreeSet};

use sessionfold::{
    event::{Decoded, Event, EventKey, EventSetDigest, Reason, SessionId},
    fold::{Aggregator, Convergent, ConvergentState, SessionAggregator},
    record::{NextOffset, RecordOffset, TopicPartition},
};

use crate::{
    broker::{Broker, PARTITIONS, partition},
    records::is_unstorable,
    side,
    tables::{Happened, Letter, Moved, Tables},
};

#[derive(Default)]
pub struct Model {
    sessions: BTreeMap<SessionId, BTreeMap<EventKey, Event>>,
    /// Each bad record, as often as a checkpoint passed it.
    letters: Vec<Letter>,
    /// Records that may be dead letters: whoever found that the store refuses an event may have done so before its
    /// session was deleted, and have written it down after.
    optional_letters: Vec<Letter>,
    deleted: BTreeSet<SessionId>,
    checkpoints: BTreeMap<TopicPartition, NextOffset>,
    /// The greatest that each checkpoint ever was.
    reached: BTreeMap<TopicPartition, NextOffset>,
    /// Records that no commit passed, since an operator decided so.
    passed: BTreeMap<TopicPartition, Vec<bool>>,
    jumped: BTreeMap<TopicPartition, Vec<(NextOffset, NextOffset)>>,
}

impl Model {
    /// Follows what happened in the tables, then compares.
    pub fn check(&mut self, broker: &Broker, tables: &mut Tables, aggregator: &Convergent) -> Result<(), String> {
        for happened in std::mem::take(&mut tables.happened) {
            match happened {
                Happened::Moved(moved) => self.follow(broker, &moved)?,
                Happened::Deleted(session) => {
                    self.sessions.remove(&session);
                    self.deleted.insert(session);
                }
                Happened::Restored(session) => {
                    self.deleted.remove(&session);
                }
            }
        }
        if let Some(violation) = tables.violations.first() {
            return Err(violation.clone());
        }
        self.check_checkpoints(broker, tables)?;
        self.check_events(tables)?;
        self.check_snapshots(tables, aggregator)?;
        side::check(&self.sessions, tables)?;
        self.check_dead_letters(tables)?;
        check_transitions(tables)
    }

    fn follow(&mut self, broker: &Broker, moved: &Moved) -> Result<(), String> {
        let (partition, next) = match moved {
            Moved::ByOperator(partition, next) => {
                let from = self.checkpoint(partition);
                self.jumped.entry(partition.clone()).or_default().push((from, *next));
                (partition, *next)
            }
            Moved::ByCommit(step) => {
                if step.expected != self.checkpoint(&step.partition) || step.next <= step.expected {
                    return Err(format!("a commit moved {} out of order", step.partition));
                }
                for offset in step.expected.get()..step.next.get() {
                    self.take(broker, &step.partition, offset)?;
                }
                (&step.partition, step.next)
            }
        };
        self.checkpoints.insert(partition.clone(), next);
        let reached = self.reached.entry(partition.clone()).or_insert(next);
        *reached = next.max(*reached);
        Ok(())
    }

    fn checkpoint(&self, partition: &TopicPartition) -> NextOffset {
        self.checkpoints.get(partition).copied().unwrap_or(NextOffset::new(0))
    }

    /// A commit passed this record.
    fn take(&mut self, broker: &Broker, partition: &TopicPartition, offset: i64) -> Result<(), String> {
        let Some((_, decoded)) = broker.read(partition, NextOffset::new(offset)) else {
            return Err(format!("a checkpoint passed the end of {partition}"));
        };
        let passed = self.passed.entry(partition.clone()).or_default();
        let index = usize::try_from(offset).unwrap();
        passed.resize(passed.len().max(index + 1), false);
        passed[index] = true;
        let mut bury = |reason| self.letters.push((partition.clone(), RecordOffset::new(offset), reason));
        match decoded {
            Decoded::Event(event) if self.deleted.contains(&event.session_id) => {
                if is_unstorable(&event) {
                    let letter = (partition.clone(), RecordOffset::new(offset), Reason::Unstorable);
                    self.optional_letters.push(letter);
                }
            }
            Decoded::Event(event) if is_unstorable(&event) => bury(Reason::Unstorable),
            Decoded::Event(event) => {
                let events = self.sessions.entry(event.session_id.clone()).or_default();
                let standing = events.entry(event.key()).or_insert_with(|| event.clone());
                if event.precedes(standing) {
                    *standing = event;
                }
            }
            Decoded::Refused(refusal) => bury(refusal.reason),
            Decoded::Ignored => {}
        }
        Ok(())
    }

    fn check_checkpoints(&self, broker: &Broker, tables: &Tables) -> Result<(), String> {
        for partition in (0..PARTITIONS).map(partition) {
            let stored = tables.checkpoints.get(&partition).copied().unwrap_or(NextOffset::new(0));
            if stored != self.checkpoint(&partition) {
                return Err(format!("the checkpoint of {partition} is {stored}, not where commits brought it"));
            }
            let reached = self.reached.get(&partition).copied().unwrap_or(NextOffset::new(0));
            if broker.committed(&partition).is_some_and(|committed| committed > reached) {
                return Err(format!("Kafka's offset of {partition} leads the checkpoint"));
            }
        }
        Ok(())
    }

    fn check_events(&self, tables: &Tables) -> Result<(), String> {
        for session in self.sessions.keys().chain(tables.events.keys()) {
            if self.sessions.get(session) != tables.events.get(session) {
                return Err(format!("the stored events of {session} are not the set of what the checkpoints passed"));
            }
        }
        Ok(())
    }

    fn check_snapshots(&self, tables: &Tables, aggregator: &Convergent) -> Result<(), String> {
        if self.sessions.len() != tables.sessions.len() {
            return Err("there are more or fewer sessions than sets of events".to_owned());
        }
        for (session, events) in &self.sessions {
            let (mut state, mut digest) = (ConvergentState::default(), EventSetDigest::default());
            for event in events.values() {
                let _ = aggregator.apply(&mut state, event);
                digest.add(event);
            }
            let row = tables.sessions.get(session).ok_or_else(|| format!("{session} has no row"))?;
            if row.state() != state {
                return Err(format!("the state of {session} is not the fold of its set"));
            }
            if row.digest != digest {
                return Err(format!("the digest of {session} is not that of its set"));
            }
            if row.snapshot != aggregator.snapshot(&state, tables.timed_out.get(session).copied()) {
                return Err(format!("the row of {session} is not the snapshot of its set"));
            }
        }
        Ok(())
    }

    fn check_dead_letters(&self, tables: &Tables) -> Result<(), String> {
        let mut surplus = tables.dead_letters.clone();
        let mut take = |letter: &Letter| surplus.iter().position(|found| found == letter).map(|at| surplus.remove(at));
        let are_all_there = self.letters.iter().all(|letter| take(letter).is_some());
        self.optional_letters.iter().for_each(|letter| drop(take(letter)));
        if are_all_there && surplus.is_empty() {
            Ok(())
        } else {
            Err("the dead letters are not the bad records that the checkpoints passed".to_owned())
        }
    }

    /// Whether every record was passed by a commit, or jumped over by an operator.
    pub fn check_complete(&self, broker: &Broker) -> Result<(), String> {
        for partition in (0..PARTITIONS).map(partition) {
            for offset in 0..broker.end(&partition).get() {
                let passed =
                    self.passed.get(&partition).and_then(|passed| passed.get(usize::try_from(offset).unwrap()));
                let jumped = self.jumped.get(&partition).into_iter().flatten();
                let mut over = jumped.filter(|(from, next)| (from.get()..next.get()).contains(&offset));
                if passed != Some(&true) && over.next().is_none() {
                    return Err(format!("record {offset} of {partition} is nowhere"));
                }
            }
        }
        Ok(())
    }
}

/// Each session's transitions lead from nothing to its status, one from where the one before ended.
fn check_transitions(tables: &Tables) -> Result<(), String> {
    for (session, row) in &tables.sessions {
        let (mut status, mut version) = (None, None);
        for transition in tables.transitions.iter().filter(|transition| transition.session == *session) {
            if transition.from != status || Some(transition.to) == status || Some(transition.version) <= version {
                return Err(format!("the transitions of {session} don't chain"));
            }
            (status, version) = (Some(transition.to), Some(transition.version));
        }
        if status != Some(row.snapshot.status) {
            return Err(format!("the transitions of {session} don't lead to its status"));
        }
    }
    Ok(())
}
