//! A commit to the tables in memory: all of it or nothing.

use std::collections::BTreeSet;

use sessionfold::{
    event::{Event, Reason, SessionId},
    fold::{Aggregators, Convergent, ConvergentState, SessionChange, SideChange, Version},
    record::RecordOffset,
    store::{BatchCommit, CheckpointMove, CommitError, Failure, Fenced, StoreError, TakenFrom},
};

use crate::{
    records::is_unstorable,
    tables::{Happened, Letter, Moved, Row, Tables, Transition},
};

/// Everything that a commit writes, on its own feet, so that it can happen later.
#[derive(Clone)]
pub struct Write {
    moves: Vec<CheckpointMove>,
    changes: Vec<Change>,
    letters: Vec<Letter>,
}

#[derive(Clone)]
struct Change {
    session: SessionId,
    read: Option<Version>,
    row: Row,
    transition: Option<Transition>,
    added: Vec<Event>,
    replaced: Vec<Event>,
    sides: Vec<Side>,
}

/// One side aggregator's states.
#[derive(Clone)]
struct Side {
    aggregator: String,
    anew: bool,
    states: Vec<(String, String)>,
}

impl Write {
    pub fn of(batch: &BatchCommit<'_, Convergent>) -> Self {
        let letter = |letter: &sessionfold::store::DeadLetter<'_>| -> (_, RecordOffset, Reason) {
            (letter.partition.clone(), letter.offset, letter.refusal.reason)
        };
        let TakenFrom::Log { dead_letters, .. } = batch.taken_from else { panic!("no log, but {batch:?}") };
        Self {
            moves: batch.taken_from.moves().to_vec(),
            changes: batch.changes.iter().map(|change| Change::of(batch.aggregators, change)).collect(),
            letters: dead_letters.iter().map(letter).collect(),
        }
    }

    pub fn sessions(&self) -> BTreeSet<SessionId> {
        self.changes.iter().map(|change| change.session.clone()).collect()
    }

    /// For the trace: `events[0] 3..5, events[1] 0..1`.
    pub fn moves(&self) -> String {
        let step = |step: &CheckpointMove| format!("{} {}..{}", step.partition, step.expected, step.next);
        self.moves.iter().map(step).collect::<Vec<_>>().join(", ")
    }
}

impl Change {
    fn of(aggregators: &Aggregators<Convergent>, change: &SessionChange<'_, ConvergentState>) -> Self {
        let session = change.session_id.clone();
        let snapshot = change.folded.snapshot().clone();
        let (read, from) = change.read.unzip();
        let version = read.map_or(Version::FIRST, Version::next);
        let transition = Transition { session: session.clone(), version, from, to: snapshot.status };
        Self {
            read,
            transition: (from != Some(snapshot.status)).then_some(transition),
            row: Row {
                version,
                snapshot,
                state: change.folded.state_json().unwrap().to_owned(),
                digest: change.folded.digest(),
                sides: aggregators.sides.ids().map(|id| id.to_string()).collect(),
            },
            added: change.added.iter().copied().cloned().collect(),
            replaced: change.replaced.iter().copied().cloned().collect(),
            sides: change.sides.iter().map(Side::of).collect(),
            session,
        }
    }
}

impl Side {
    fn of(change: &SideChange) -> Self {
        let states = change.states.iter().map(|(key, state)| (key.clone(), state.as_ref().unwrap().get().to_owned()));
        Self { aggregator: change.id.name().to_owned(), anew: change.anew, states: states.collect() }
    }
}

impl Tables {
    /// Commits, in the order of the real store's checks: checkpoints, versions, data.
    pub fn commit(&mut self, write: Write) -> Result<(), CommitError> {
        self.prepare(&write)?;
        self.apply(write);
        Ok(())
    }

    /// A commit that happens later: it holds its locks until then.
    pub fn commit_late(&mut self, write: Write) -> Result<(), CommitError> {
        self.prepare(&write)?;
        self.late = Some(write);
        Ok(())
    }

    /// Lets the late commit happen.
    pub fn land(&mut self) {
        if let Some(write) = self.late.take() {
            self.apply(write);
        }
    }

    /// Everything before COMMIT: whether the write may happen.
    pub fn prepare(&mut self, write: &Write) -> Result<(), CommitError> {
        self.land();
        let found = |step: &CheckpointMove| self.checkpoints.get(&step.partition).copied();
        let fenced = write.moves.iter().filter(|step| found(step) != Some(step.expected));
        let partitions: Vec<_> = fenced.map(|step| (step.partition.clone(), found(step))).collect();
        if !partitions.is_empty() {
            return Err(CommitError::Fenced(Fenced { partitions, ..Fenced::default() }));
        }
        let stands = |change: &Change| {
            let is_left_out = change.read.is_none() && self.deleted.contains(&change.session);
            !is_left_out && self.sessions.get(&change.session).map(|row| row.version) == change.read
        };
        if !write.changes.iter().all(stands) {
            return Err(CommitError::Conflict);
        }
        let mut events = write.changes.iter().flat_map(|change| change.added.iter().chain(&change.replaced));
        if events.any(is_unstorable) {
            let mut error = StoreError::new(Failure::Data, "refused");
            error.sqlstate = Some("22P05".into());
            return Err(error.into());
        }
        Ok(())
    }

    fn apply(&mut self, write: Write) {
        for step in write.moves {
            self.checkpoints.insert(step.partition.clone(), step.next);
            self.happened.push(Happened::Moved(Moved::ByCommit(step)));
        }
        for change in write.changes {
            self.apply_change(change);
        }
        self.dead_letters.extend(write.letters);
    }

    fn apply_change(&mut self, change: Change) {
        let Change { session, row, transition, added, replaced, sides, .. } = change;
        let events = self.events.entry(session.clone()).or_default();
        for event in added {
            if events.insert(event.key(), event).is_some() {
                self.violations.push(format!("an event that was added to {session} was stored before"));
            }
        }
        for event in replaced {
            if events.insert(event.key(), event).is_none() {
                self.violations.push(format!("an event that was replaced in {session} was not stored"));
            }
        }
        for side in sides {
            if side.anew {
                self.aggregates.retain(|(of, name, _), _| *of != session || *name != side.aggregator);
            }
            for (key, state) in side.states {
                self.aggregates.insert((session.clone(), side.aggregator.clone(), key), state);
            }
        }
        self.timed_out.remove(&session);
        self.transitions.extend(transition);
        self.sessions.insert(session, row);
    }
}
