//! What a session looks like to those who read it: the fields of the table `sessions`.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use crate::event::{EndReason, EventTime, HookSource, TaskId, Text, wire_names};

wire_names! {
    /// Where a session stands. With the convergent aggregator none is final: a later event simply changes the set.
    Status { Active = "active", Orphan = "orphan", Ended = "ended", TimedOut = "timed_out" }
}

wire_names! {
    /// What a session's end is known from.
    Provenance { Explicit = "explicit", Timeout = "timeout" }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Its `ended` event says so.
    Explicit(EndReason),
    /// It fell silent.
    Timeout,
}

impl EndCause {
    pub fn reason(self) -> &'static str {
        match self {
            EndCause::Explicit(reason) => reason.as_str(),
            EndCause::Timeout => "timeout",
        }
    }

    pub fn provenance(self) -> Provenance {
        match self {
            EndCause::Explicit(_) => Provenance::Explicit,
            EndCause::Timeout => Provenance::Timeout,
        }
    }
}

impl Serialize for EndCause {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.reason())
    }
}

/// A session as a function of its events (and, for time-outs, of the time asked about).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    pub status: Status,
    pub correlation_id: Uuid,
    pub task_id: Option<TaskId>,
    pub started_at: Option<EventTime>,
    pub ended_at: Option<EventTime>,
    pub duration_seconds: Option<f64>,
    pub working_directory: Option<Text>,
    pub git_branch: Option<Text>,
    pub hook_source: Option<HookSource>,
    /// `end_reason` and `end_provenance` in one, since neither comes without the other.
    #[serde(rename = "end_reason")]
    pub end_cause: Option<EndCause>,
    pub run_count: u64,
    pub prompt_count: u64,
    pub tool_count: u64,
    pub tool_failure_count: u64,
    pub tools_used_count: u64,
    pub tool_usage: BTreeMap<String, u64>,
    pub event_count: u64,
    pub first_event_at: EventTime,
    pub last_event_at: EventTime,
}
