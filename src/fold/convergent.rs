//! The convergent aggregator: a session's snapshot is a function of the set of its events.
//!
//! The state holds sums, least and greatest elements only, so taking events in is commutative, and an event costs the
//! same in a session of a million as in one of ten. (What grows is the tally of tool names, by the number of names.) An
//! event that replaces another can't be taken out of a greatest element again; such a session is folded anew
//! ([`KnownVerdict::Supersedes`](super::KnownVerdict::Supersedes)).

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{
    Body, DurationSeconds, EndReason, Ended, Event, EventTime, HookSource, Position, Started, TaskId, Text, Tool,
};

use super::{
    aggregator::{Aggregator, AggregatorId, SessionAggregator, Verdict},
    snapshot::{EndCause, Snapshot, Status},
};

/// The default aggregator. Its settings shape the snapshot only, never the state, so they can change at any time.
#[derive(Clone, Debug)]
pub struct Convergent {
    /// A session that was silent for this long at the time asked about is timed out.
    pub inactivity_timeout: Duration,
    /// Prompts and tool executions this long after an end don't reopen the session.
    pub reopen_grace: Duration,
}

impl Default for Convergent {
    fn default() -> Self {
        Self { inactivity_timeout: Duration::from_secs(3_600), reopen_grace: Duration::from_secs(60) }
    }
}

/// Sums and extremes over the set of a session's events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConvergentState {
    run_count: u64,
    end_count: u64,
    prompt_count: u64,
    tool_failure_count: u64,
    tool_usage: BTreeMap<String, u64>,
    /// The least event, with its correlation id.
    first_event: Option<(Position, Uuid)>,
    last_event_at: Option<EventTime>,
    /// The greatest time of prompts and tool executions.
    last_activity_at: Option<EventTime>,
    first_start: Option<FirstStart>,
    /// Of the least start that names one.
    first_git_branch: Option<(Position, Text)>,
    /// Of the least event that names one.
    first_task_id: Option<(Position, TaskId)>,
    /// The greatest of the starts and ends.
    last_lifecycle: Option<Lifecycle>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FirstStart {
    position: Position,
    correlation_id: Uuid,
    working_directory: Text,
    hook_source: HookSource,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lifecycle {
    /// A start sorts before an end of the same instant, since its kind does.
    position: Position,
    /// None for a start.
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct End {
    reason: EndReason,
    duration_seconds: Option<DurationSeconds>,
}

/// Keeps the value with the lesser position.
fn keep_first<T>(slot: &mut Option<(Position, T)>, position: Position, value: impl FnOnce() -> T) {
    if slot.as_ref().is_none_or(|(first, _)| position < *first) {
        *slot = Some((position, value()));
    }
}

impl ConvergentState {
    /// Takes in an event that isn't in it yet.
    pub(super) fn take(&mut self, event: &Event) {
        let position = event.position();
        keep_first(&mut self.first_event, position, || event.correlation_id);
        if let Some(task_id) = &event.task_id {
            keep_first(&mut self.first_task_id, position, || task_id.clone());
        }
        self.last_event_at = self.last_event_at.max(Some(event.emitted_at));
        match &event.body {
            Body::Started(started) => self.take_start(event, position, started),
            Body::Ended(ended) => self.take_end(position, ended),
            Body::Prompt(_) => {
                self.prompt_count += 1;
                self.last_activity_at = self.last_activity_at.max(Some(event.emitted_at));
            }
            Body::Tool(tool) => {
                self.take_tool(tool);
                self.last_activity_at = self.last_activity_at.max(Some(event.emitted_at));
            }
        }
    }

    fn take_start(&mut self, event: &Event, position: Position, started: &Started) {
        self.run_count += 1;
        if self.first_start.as_ref().is_none_or(|first| position < first.position) {
            self.first_start = Some(FirstStart {
                position,
                correlation_id: event.correlation_id,
                working_directory: started.working_directory.clone(),
                hook_source: started.hook_source,
            });
        }
        if let Some(branch) = &started.git_branch {
            keep_first(&mut self.first_git_branch, position, || branch.clone());
        }
        self.take_lifecycle(Lifecycle { position, end: None });
    }

    fn take_end(&mut self, position: Position, ended: &Ended) {
        self.end_count += 1;
        let end = End { reason: ended.reason, duration_seconds: ended.duration_seconds };
        self.take_lifecycle(Lifecycle { position, end: Some(end) });
    }

    fn take_lifecycle(&mut self, lifecycle: Lifecycle) {
        if self.last_lifecycle.as_ref().is_none_or(|last| lifecycle.position > last.position) {
            self.last_lifecycle = Some(lifecycle);
        }
    }

    fn take_tool(&mut self, tool: &Tool) {
        self.tool_failure_count += u64::from(!tool.success);
        match self.tool_usage.get_mut(tool.tool_name.as_str()) {
            Some(count) => *count += 1,
            None => {
                self.tool_usage.insert(tool.tool_name.as_str().to_owned(), 1);
            }
        }
    }

    /// The end that stands: the last of starts and ends is an end, and nothing happened later than `grace` after it.
    fn standing_end(&self, grace: Duration) -> Option<(EventTime, End)> {
        let last = self.last_lifecycle.as_ref()?;
        let (ended_at, end) = (last.position.emitted_at, last.end?);
        let reopened = self.last_activity_at.is_some_and(|activity| activity.is_later_by_more_than(grace, ended_at));
        (!reopened).then_some((ended_at, end))
    }
}

/// How a session ended: when, after how long, and why.
struct Ending {
    at: EventTime,
    duration_seconds: Option<f64>,
    cause: EndCause,
}

impl Convergent {
    /// The status of a session that has ended one way or the other.
    fn ending(&self, state: &ConvergentState, counts: &Snapshot, as_of: Option<EventTime>) -> Option<(Status, Ending)> {
        let since_start = |end: EventTime| counts.started_at.map(|start| end.seconds_since(start));
        if let Some((at, end)) = state.standing_end(self.reopen_grace) {
            let duration_seconds = end.duration_seconds.map(DurationSeconds::get).or_else(|| since_start(at));
            return Some((Status::Ended, Ending { at, duration_seconds, cause: EndCause::Explicit(end.reason) }));
        }
        let at = counts.last_event_at;
        let timed_out = as_of.is_some_and(|as_of| as_of.is_later_by_at_least(self.inactivity_timeout, at));
        let ending = || Ending { at, duration_seconds: since_start(at), cause: EndCause::Timeout };
        timed_out.then(|| (Status::TimedOut, ending()))
    }
}

impl ConvergentState {
    pub(super) fn last_event_at(&self) -> Option<EventTime> {
        self.last_event_at
    }

    /// The fields that are sums and extremes, with the status of a session that has no end.
    ///
    /// # Panics
    /// If no event was taken.
    pub(super) fn counts(&self) -> Snapshot {
        #[expect(
            clippy::expect_used,
            reason = "a state is stored only after it took an event, and every event sets both"
        )]
        let ((first, correlation_id), last_event_at) =
            (self.first_event.expect("a first event"), self.last_event_at.expect("a last event"));
        let start = self.first_start.as_ref();
        let tool_count = self.tool_usage.values().sum();
        Snapshot {
            status: if start.is_some() { Status::Active } else { Status::Orphan },
            correlation_id: start.map_or(correlation_id, |start| start.correlation_id),
            task_id: self.first_task_id.as_ref().map(|(_, task)| task.clone()),
            started_at: start.map(|start| start.position.emitted_at),
            ended_at: None,
            duration_seconds: None,
            working_directory: start.map(|start| start.working_directory.clone()),
            git_branch: self.first_git_branch.as_ref().map(|(_, branch)| branch.clone()),
            hook_source: start.map(|start| start.hook_source),
            end_cause: None,
            run_count: self.run_count,
            prompt_count: self.prompt_count,
            tool_count,
            tool_failure_count: self.tool_failure_count,
            tools_used_count: self.tool_usage.len() as u64,
            tool_usage: self.tool_usage.clone(),
            event_count: self.run_count + self.end_count + self.prompt_count + tool_count,
            first_event_at: first.emitted_at,
            last_event_at,
        }
    }
}

impl Aggregator for Convergent {
    type State = ConvergentState;

    fn id(&self) -> AggregatorId {
        const { AggregatorId::new("convergent", 1) }
    }

    fn apply(&self, state: &mut ConvergentState, event: &Event) -> Verdict {
        state.take(event);
        Verdict::Applied
    }
}

impl SessionAggregator for Convergent {
    fn snapshot(&self, state: &ConvergentState, as_of: Option<EventTime>) -> Snapshot {
        let counts = state.counts();
        let Some((status, ending)) = self.ending(state, &counts, as_of) else { return counts };
        Snapshot {
            status,
            ended_at: Some(ending.at),
            duration_seconds: ending.duration_seconds,
            end_cause: Some(ending.cause),
            ..counts
        }
    }

    fn inactivity_timeout(&self) -> Duration {
        self.inactivity_timeout
    }
}
