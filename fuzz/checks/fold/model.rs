//! The set of events and what a session looks like, from the definitions: sort, filter, count. Nothing here is taken
//! from the production code but its types.

use std::collections::BTreeMap;

use sessionfold::{
    event::{Body, Ended, Event, EventKey, EventTime, SessionId, Started, Tool},
    fold::{EndCause, Snapshot, Status},
};

use super::tally::Count;

const REOPEN_GRACE_MICROS: i64 = 60 * 1_000_000;
const INACTIVITY_TIMEOUT_MICROS: i64 = 3_600 * 1_000_000;

/// Of the versions of an event stands the one with the least time, causation id and, at last, content.
pub(super) fn set_of(events: &[Event]) -> BTreeMap<SessionId, BTreeMap<EventKey, Event>> {
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by_key(|event| (event.emitted_at, event.causation_id, *event));
    let mut set: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for event in sorted {
        let session = set.entry(event.session_id.clone()).or_default();
        session.entry(event.key()).or_insert_with(|| event.clone());
    }
    set
}

pub(super) fn snapshot(events: &BTreeMap<EventKey, Event>, as_of: Option<EventTime>) -> Snapshot {
    let mut sorted: Vec<&Event> = events.values().collect();
    sorted.sort_by_key(|event| (event.emitted_at, rank_and_id(event)));
    let starts: Vec<(&Event, &Started)> = sorted.iter().filter_map(|event| Some((*event, start(event)?))).collect();
    let tools: Vec<&Tool> = sorted.iter().filter_map(|event| tool(event)).collect();
    let mut tool_usage = BTreeMap::new();
    for tool in &tools {
        *tool_usage.entry(tool.tool_name.as_str().to_owned()).or_insert(0) += 1;
    }
    let first_start = starts.first().copied();
    let started_at = first_start.map(|(event, _)| event.emitted_at);
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    let ending = ending(&sorted, started_at, as_of);
    Snapshot {
        status: match ending {
            Some(Ending { cause: EndCause::Explicit(_), .. }) => Status::Ended,
            Some(Ending { cause: EndCause::Timeout, .. }) => Status::TimedOut,
            None if starts.is_empty() => Status::Orphan,
            None => Status::Active,
        },
        correlation_id: first_start.map_or(first, |(event, _)| event).correlation_id,
        task_id: sorted.iter().find_map(|event| event.task_id.clone()),
        started_at,
        ended_at: ending.as_ref().map(|ending| ending.at),
        duration_seconds: ending.as_ref().and_then(|ending| ending.duration_seconds),
        working_directory: first_start.map(|(_, start)| start.working_directory.clone()),
        git_branch: starts.iter().find_map(|(_, start)| start.git_branch.clone()),
        hook_source: first_start.map(|(_, start)| start.hook_source),
        end_cause: ending.map(|ending| ending.cause),
        run_count: starts.len() as u64,
        prompt_count: sorted.iter().filter(|event| matches!(event.body, Body::Prompt(_))).count() as u64,
        tool_count: tools.len() as u64,
        tool_failure_count: tools.iter().filter(|tool| !tool.success).count() as u64,
        tools_used_count: tool_usage.len() as u64,
        tool_usage,
        event_count: sorted.len() as u64,
        first_event_at: first.emitted_at,
        last_event_at: last.emitted_at,
    }
}

/// What an aggregator beside the session's makes of the same set.
pub(super) fn tallies(events: &BTreeMap<EventKey, Event>) -> BTreeMap<String, Count> {
    let mut tallies: BTreeMap<String, Count> = BTreeMap::new();
    for tool in events.values().filter_map(tool) {
        let count = tallies.entry(tool.tool_name.as_str().to_owned()).or_default();
        count.executions += 1;
        count.failures += if tool.success { 0 } else { 1 };
    }
    tallies
}

struct Ending {
    at: EventTime,
    duration_seconds: Option<f64>,
    cause: EndCause,
}

/// None for a session that goes on.
fn ending(sorted: &[&Event], started_at: Option<EventTime>, as_of: Option<EventTime>) -> Option<Ending> {
    let since_start = |at: EventTime| started_at.map(|start| micros_between(start, at) as f64 / 1e6);
    let activity = sorted.iter().filter(|event| start(event).is_none() && end(event).is_none());
    let last_activity = activity.map(|event| event.emitted_at).max();
    let starts_and_ends = sorted.iter().filter(|event| start(event).is_some() || end(event).is_some());
    let last = starts_and_ends.max_by_key(|event| (event.emitted_at, end(event).is_some(), text_of_causation(event)));
    if let Some((event, end)) = last.and_then(|event| Some((event, end(event)?))) {
        let at = event.emitted_at;
        if last_activity.is_none_or(|activity| micros_between(at, activity) <= REOPEN_GRACE_MICROS) {
            let duration_seconds = end.duration_seconds.map(|seconds| seconds.get()).or_else(|| since_start(at));
            return Some(Ending { at, duration_seconds, cause: EndCause::Explicit(end.reason) });
        }
    }
    let at = sorted.iter().map(|event| event.emitted_at).max()?;
    let timed_out = micros_between(at, as_of?) >= INACTIVITY_TIMEOUT_MICROS;
    timed_out.then(|| Ending { at, duration_seconds: since_start(at), cause: EndCause::Timeout })
}

/// Ids are compared as lower-case text.
fn rank_and_id(event: &Event) -> (u8, String) {
    match &event.body {
        Body::Started(_) => (0, text_of_causation(event)),
        Body::Prompt(prompt) => (1, prompt.prompt_id.to_string()),
        Body::Tool(tool) => (2, tool.tool_execution_id.to_string()),
        Body::Ended(_) => (3, text_of_causation(event)),
    }
}

fn text_of_causation(event: &Event) -> String {
    event.causation_id.to_string()
}

fn micros_between(earlier: EventTime, later: EventTime) -> i64 {
    later.micros_since_epoch() - earlier.micros_since_epoch()
}

fn start(event: &Event) -> Option<&Started> {
    match &event.body {
        Body::Started(started) => Some(started),
        _ => None,
    }
}

fn end(event: &Event) -> Option<&Ended> {
    match &event.body {
        Body::Ended(ended) => Some(ended),
        _ => None,
    }
}

fn tool(event: &Event) -> Option<&Tool> {
    match &event.body {
        Body::Tool(tool) => Some(tool),
        _ => None,
    }
}
