//! The reference aggregator: the same job in arrival order, for those who need parity with the system before.
//!
//! What it makes of a session depends on what arrived first. An end is final, so whatever a backlog brings after it is
//! rejected.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{Body, DurationSeconds, EndReason, Event, EventTime};

use super::{
    aggregator::{Aggregator, AggregatorId, KnownVerdict, Rejection, SessionAggregator, Verdict},
    convergent::ConvergentState,
    snapshot::{EndCause, Snapshot, Status},
};

/// Folds in the order of arrival: the first word counts, and an end is the last.
#[derive(Clone, Debug)]
pub struct Reference {
    /// A session that was silent for this long at the time asked about is timed out, for good.
    pub inactivity_timeout: Duration,
}

impl Default for Reference {
    fn default() -> Self {
        Self { inactivity_timeout: Duration::from_secs(3_600) }
    }
}

/// The session ended or timed out before.
pub const SESSION_IS_FINAL: Rejection = Rejection("session_is_final");
/// The session has its start already.
pub const SECOND_START: Rejection = Rejection("second_start");
/// A prompt or tool execution with this id was accepted before.
pub const KNOWN_ID: Rejection = Rejection("known_id");

/// The accepted events, and what their order decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReferenceState {
    accepted: ConvergentState,
    /// Of the event that arrived first.
    correlation_id: Option<Uuid>,
    is_started: bool,
    finality: Option<Finality>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Finality {
    Ended { at: EventTime, reason: EndReason, duration_seconds: Option<DurationSeconds> },
    TimedOut,
}

impl Reference {
    /// Rejections that don't depend on whether the event's key is known.
    fn refusal(state: &ReferenceState, event: &Event) -> Option<Rejection> {
        if state.finality.is_some() {
            return Some(SESSION_IS_FINAL);
        }
        (state.is_started && matches!(event.body, Body::Started(_))).then_some(SECOND_START)
    }
}

impl Aggregator for Reference {
    type State = ReferenceState;

    fn id(&self) -> AggregatorId {
        const { AggregatorId::new("reference", 1) }
    }

    fn apply(&self, state: &mut ReferenceState, event: &Event) -> Verdict {
        if let Some(rejection) = Self::refusal(state, event) {
            return Verdict::Rejected(rejection);
        }
        state.accepted.take(event);
        state.correlation_id.get_or_insert(event.correlation_id);
        match &event.body {
            Body::Started(_) => state.is_started = true,
            Body::Ended(ended) => {
                state.finality = Some(Finality::Ended {
                    at: event.emitted_at,
                    reason: ended.reason,
                    duration_seconds: ended.duration_seconds,
                });
            }
            Body::Prompt(_) | Body::Tool(_) => {}
        }
        Verdict::Applied
    }
}

impl SessionAggregator for Reference {
    fn judge_known(&self, state: &ReferenceState, event: &Event, _: &Event) -> KnownVerdict {
        KnownVerdict::Rejected(Self::refusal(state, event).unwrap_or(KNOWN_ID))
    }

    fn snapshot(&self, state: &ReferenceState, as_of: Option<EventTime>) -> Snapshot {
        let mut state = state.clone();
        if let Some(as_of) = as_of {
            self.time_out(&mut state, as_of);
        }
        let mut snapshot = state.accepted.counts();
        snapshot.correlation_id = state.correlation_id.unwrap_or(snapshot.correlation_id);
        let (status, ended_at, duration, cause) = match state.finality {
            None if state.is_started => (Status::Active, None, None, None),
            None => (Status::Orphan, None, None, None),
            Some(Finality::Ended { at, reason, duration_seconds }) => {
                (Status::Ended, Some(at), duration_seconds, Some(EndCause::Explicit(reason)))
            }
            Some(Finality::TimedOut) => (Status::TimedOut, Some(snapshot.last_event_at), None, Some(EndCause::Timeout)),
        };
        let since_start = || Some(ended_at?.seconds_since(snapshot.started_at?));
        snapshot.duration_seconds = duration.map(DurationSeconds::get).or_else(since_start);
        Snapshot { status, ended_at, end_cause: cause, ..snapshot }
    }

    fn time_out(&self, state: &mut ReferenceState, as_of: EventTime) {
        let silent = |last| as_of.is_later_by_at_least(self.inactivity_timeout, last);
        if state.finality.is_none() && state.accepted.last_event_at().is_some_and(silent) {
            state.finality = Some(Finality::TimedOut);
        }
    }

    fn inactivity_timeout(&self) -> Duration {
        self.inactivity_timeout
    }

    fn depends_on_order(&self) -> bool {
        true
    }
}
