//! What a span tells. Nothing of what an event says is among it: prompts, commands and paths are private.

use std::{sync::Arc, time::SystemTime};

use uuid::Uuid;

use crate::{
    event::{EventKind, RecordTimestamp, SessionId},
    record::{RecordOffset, TopicPartition},
};

use super::{SpanId, SpanPlace};

/// One span, which has ended.
#[derive(Clone, Debug)]
pub struct Span {
    pub place: SpanPlace,
    pub begun_at: SystemTime,
    pub ended_at: SystemTime,
    pub body: SpanBody,
}

#[derive(Clone, Debug)]
pub enum SpanBody {
    Batch(BatchSpan),
    Station(StationSpan),
    Event(EventSpan),
}

/// A batch, from when the pipeline took it until its fate was known.
#[derive(Clone, Debug)]
pub struct BatchSpan {
    pub group_id: Arc<str>,
    pub lane: usize,
    pub records: u64,
    pub partitions: usize,
    pub outcome: BatchOutcome,
    /// Tries to commit it or a part of it, those that failed included.
    pub tries: u64,
    pub applied: u64,
    pub duplicates: u64,
    pub ignored: u64,
    pub rejected: u64,
    pub dead_letters: u64,
    /// Records that were let go, to be read again.
    pub let_go: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// Whole, and at the first try.
    Committed,
    /// Whole, after tries that failed.
    Retried,
    /// Another writer had moved a checkpoint: its records were let go.
    Fenced,
    /// A partition was taken away: its records were let go.
    Revoked,
    /// Some of it was let go, to be read again with what a dead letter keeps.
    ReadAgain,
    /// Given up before its end, with the pipeline.
    Failed,
}

impl BatchOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Retried => "retried",
            Self::Fenced => "fenced",
            Self::Revoked => "revoked",
            Self::ReadAgain => "read_again",
            Self::Failed => "failed",
        }
    }
}

/// One time at a station of a batch's route.
#[derive(Clone, Debug)]
pub struct StationSpan {
    pub batch: SpanId,
    pub name: &'static str,
    /// Whether it is Postgres that is asked there.
    pub asks_postgres: bool,
    pub failure: Option<FailureKind>,
}

/// Why a station wasn't passed: no text, which might quote data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureKind {
    pub name: &'static str,
    pub sqlstate: Option<Box<str>>,
}

/// An event whose correlation id was taken, from when its batch was taken until it was committed.
#[derive(Clone, Debug)]
pub struct EventSpan {
    pub batch: SpanPlace,
    pub group_id: Arc<str>,
    pub partition: TopicPartition,
    pub offset: RecordOffset,
    pub record_timestamp: Option<RecordTimestamp>,
    pub session_id: SessionId,
    pub kind: EventKind,
    /// The prompt's, the execution's, or the causation id.
    pub event_id: Uuid,
    pub causation_id: Uuid,
    pub outcome: EventOutcome,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    Applied,
    Duplicate,
    /// Of a session that was deleted.
    Ignored,
    /// By the aggregator, with its reason.
    Rejected(&'static str),
    /// Postgres refused it.
    DeadLetter(&'static str),
}

impl EventOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::Rejected(_) => "rejected",
            Self::DeadLetter(_) => "dead_letter",
        }
    }

    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Rejected(reason) | Self::DeadLetter(reason) => Some(reason),
            Self::Applied | Self::Duplicate | Self::Ignored => None,
        }
    }
}
