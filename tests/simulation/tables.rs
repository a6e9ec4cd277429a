//! Postgres in memory: the tables, with the rules of the real ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use sessionfold::{
    event::{Event, EventKey, EventSetDigest, EventTime, Reason, SessionId},
    fold::{Convergent, ConvergentState, FoldedState, LoadedSession, SessionAggregator, Snapshot, Status, Version},
    record::{NextOffset, RecordOffset, TopicPartition},
    store::CheckpointMove,
};

use crate::commit::Write;

/// A row of `sessions`.
#[derive(Clone)]
pub struct Row {
    pub version: Version,
    pub snapshot: Snapshot,
    /// As JSON, like in the real table.
    pub state: String,
    pub digest: EventSetDigest,
    pub sides: Vec<String>,
}

impl Row {
    pub fn state(&self) -> ConvergentState {
        serde_json::from_str(&self.state).unwrap()
    }

    pub fn loaded(&self) -> LoadedSession<ConvergentState> {
        LoadedSession {
            version: self.version,
            status: self.snapshot.status,
            folded: Some(FoldedState { state: self.state(), digest: self.digest }),
            sides: self.sides.clone(),
        }
    }
}

/// A row of `transitions`.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    pub session: SessionId,
    pub version: Version,
    pub from: Option<Status>,
    pub to: Status,
}

/// For the trace: `s0 was active, is timed_out`.
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, from, to, .. } = self;
        match from {
            Some(from) => write!(f, "{session} was {}, is {}", from.as_str(), to.as_str()),
            None => write!(f, "{session} is new, is {}", to.as_str()),
        }
    }
}

/// A row of `dead_letters`: where the record stood, and why it is there.
pub type Letter = (TopicPartition, RecordOffset, Reason);

/// How a checkpoint came to where it is.
#[derive(Clone, Debug)]
pub enum Moved {
    ByCommit(CheckpointMove),
    ByOperator(TopicPartition, NextOffset),
}

/// Something that the model follows, in the order in which it happened.
#[derive(Clone, Debug)]
pub enum Happened {
    Moved(Moved),
    Deleted(SessionId),
    Restored(SessionId),
}

#[derive(Default)]
pub struct Tables {
    pub checkpoints: BTreeMap<TopicPartition, NextOffset>,
    pub sessions: BTreeMap<SessionId, Row>,
    pub events: BTreeMap<SessionId, BTreeMap<EventKey, Event>>,
    /// By session, aggregator and key.
    pub aggregates: BTreeMap<(SessionId, String, String), String>,
    pub transitions: Vec<Transition>,
    pub dead_letters: Vec<Letter>,
    pub deleted: BTreeSet<SessionId>,
    /// What the model has not looked at yet.
    pub happened: Vec<Happened>,
    /// When each session was found timed out, if nothing changed it since.
    pub timed_out: BTreeMap<SessionId, EventTime>,
    /// A commit whose answer was lost, and which happens before anything else is written.
    pub late: Option<Write>,
    /// What no store would let happen.
    pub violations: Vec<String>,
}

impl Tables {
    /// Applies time-outs to sessions that fell silent, as the sweep does.
    pub fn sweep(&mut self, aggregator: &Convergent, as_of: EventTime) {
        self.land();
        for (session, row) in &mut self.sessions {
            let mut state = row.state();
            let snapshot = aggregator.snapshot(&state, Some(as_of));
            if row.snapshot.status == Status::TimedOut || snapshot.status != Status::TimedOut {
                continue;
            }
            aggregator.time_out(&mut state, as_of);
            row.state = serde_json::to_string(&state).unwrap();
            row.version = row.version.next();
            let (version, from) = (row.version, Some(row.snapshot.status));
            self.transitions.push(Transition { session: session.clone(), version, from, to: snapshot.status });
            self.timed_out.insert(session.clone(), as_of);
            row.snapshot = snapshot;
        }
    }

    /// Another writer changes these sessions, to nothing that anybody sees.
    pub fn touch(&mut self, sessions: &BTreeSet<SessionId>) {
        self.land();
        for (_, row) in self.sessions.iter_mut().filter(|(session, _)| sessions.contains(*session)) {
            row.version = row.version.next();
        }
    }

    /// An operator deletes a session. A commit under way comes before, since it holds its locks.
    pub fn delete(&mut self, session: &SessionId) {
        self.land();
        self.deleted.insert(session.clone());
        self.sessions.remove(session);
        self.events.remove(session);
        self.aggregates.retain(|(of, ..), _| of != session);
        self.transitions.retain(|transition| transition.session != *session);
        self.timed_out.remove(session);
        self.happened.push(Happened::Deleted(session.clone()));
    }

    pub fn restore(&mut self, session: &SessionId) {
        self.land();
        if self.deleted.remove(session) {
            self.happened.push(Happened::Restored(session.clone()));
        }
    }

    /// An operator decides where a partition goes on.
    pub fn move_checkpoint(&mut self, partition: &TopicPartition, next: NextOffset) {
        self.land();
        if let Some(checkpoint) = self.checkpoints.get_mut(partition) {
            *checkpoint = next;
            self.happened.push(Happened::Moved(Moved::ByOperator(partition.clone(), next)));
        }
    }
}
