//! What a session is, said as simply as possible: a set of events, sorted, and looked through for each field. It shares
//! nothing with the fold but the types. `fuzz/checks/fold.rs` includes it, too.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use sessionfold::{
    event::{Body, Ended, Event, EventSetDigest, EventTime, SessionId, Started, Tool},
    fold::{Convergent, EndCause, Snapshot, Status},
};
use uuid::Uuid;

/// The events of each session, each once: of those that are the same event, the one that stands.
pub fn sets(events: &[Event]) -> BTreeMap<SessionId, Vec<Event>> {
    let mut sorted = events.to_vec();
    sorted.sort_by_key(|event| (event.emitted_at, event.causation_id.to_string(), event.clone()));
    let mut sets: BTreeMap<SessionId, HashMap<String, Event>> = BTreeMap::new();
    for event in sorted {
        sets.entry(event.session_id.clone()).or_default().entry(natural_key(&event)).or_insert(event);
    }
    sets.into_iter().map(|(session, set)| (session, in_order(set.into_values().collect()))).collect()
}

fn natural_key(event: &Event) -> String {
    match &event.body {
        Body::Prompt(prompt) => format!("prompt {}", prompt.prompt_id),
        Body::Tool(tool) => format!("tool {}", tool.tool_execution_id),
        Body::Started(_) => format!("started {} {}", event.emitted_at, event.causation_id),
        Body::Ended(_) => format!("ended {} {}", event.emitted_at, event.causation_id),
    }
}

fn in_order(mut events: Vec<Event>) -> Vec<Event> {
    let position = |event: &Event| {
        let (kind, id): (u8, Uuid) = match &event.body {
            Body::Started(_) => (0, event.causation_id),
            Body::Prompt(prompt) => (1, prompt.prompt_id),
            Body::Tool(tool) => (2, tool.tool_execution_id),
            Body::Ended(_) => (3, event.causation_id),
        };
        (event.emitted_at, kind, id.to_string())
    };
    events.sort_by_key(position);
    events
}

pub fn digest(set: &[Event]) -> EventSetDigest {
    let mut digest = EventSetDigest::default();
    // Not in the order of any fold.
    set.iter().rev().for_each(|event| digest.add(event));
    digest
}

/// The snapshot of a session's events, which are in order.
pub fn snapshot(aggregator: &Convergent, set: &[Event], as_of: Option<EventTime>) -> Snapshot {
    let starts: Vec<(&Event, &Started)> =
        of(set, |body| if let Body::Started(started) = body { Some(started) } else { None });
    let tools: Vec<(&Event, &Tool)> = of(set, |body| if let Body::Tool(tool) = body { Some(tool) } else { None });
    let first_start = starts.first();
    let started_at = first_start.map(|(event, _)| event.emitted_at);
    let mut tool_usage = BTreeMap::new();
    for (_, tool) in &tools {
        *tool_usage.entry(tool.tool_name.as_str().to_owned()).or_insert(0) += 1;
    }
    let (status, ended_at, duration_seconds, end_cause) = ending(aggregator, set, started_at, as_of);
    Snapshot {
        status,
        correlation_id: first_start.map_or(set[0].correlation_id, |(event, _)| event.correlation_id),
        task_id: set.iter().find_map(|event| event.task_id.clone()),
        started_at,
        ended_at,
        duration_seconds,
        working_directory: first_start.map(|(_, started)| started.working_directory.clone()),
        git_branch: starts.iter().find_map(|(_, started)| started.git_branch.clone()),
        hook_source: first_start.map(|(_, started)| started.hook_source),
        end_cause,
        run_count: starts.len() as u64,
        prompt_count: set.iter().filter(|event| matches!(event.body, Body::Prompt(_))).count() as u64,
        tool_count: tools.len() as u64,
        tool_failure_count: tools.iter().filter(|(_, tool)| !tool.success).count() as u64,
        tools_used_count: tool_usage.len() as u64,
        tool_usage,
        event_count: set.len() as u64,
        first_event_at: set[0].emitted_at,
        last_event_at: set[set.len() - 1].emitted_at,
    }
}

fn of<'e, T>(set: &'e [Event], body: impl Fn(&'e Body) -> Option<&'e T>) -> Vec<(&'e Event, &'e T)> {
    set.iter().filter_map(|event| Some((event, body(&event.body)?))).collect()
}

type Ending = (Status, Option<EventTime>, Option<f64>, Option<EndCause>);

fn ending(aggregator: &Convergent, set: &[Event], started_at: Option<EventTime>, as_of: Option<EventTime>) -> Ending {
    let since_start = |end: EventTime| started_at.map(|start| end.seconds_since(start));
    let seconds_after = |later: EventTime, earlier: EventTime| later.seconds_since(earlier);
    let lifecycle = |event: &&Event| matches!(event.body, Body::Started(_) | Body::Ended(_));
    let last = set
        .iter()
        .filter(lifecycle)
        .max_by_key(|event| (event.emitted_at, matches!(event.body, Body::Ended(_)), event.causation_id.to_string()));
    let last_activity = set.iter().filter(|event| !lifecycle(event)).map(|event| event.emitted_at).max();
    if let Some(Event { emitted_at, body: Body::Ended(Ended { reason, duration_seconds, .. }), .. }) = last {
        let grace = aggregator.reopen_grace.as_secs_f64();
        if last_activity.is_none_or(|activity| seconds_after(activity, *emitted_at) <= grace) {
            let duration = duration_seconds.map(|seconds| seconds.get()).or_else(|| since_start(*emitted_at));
            return (Status::Ended, Some(*emitted_at), duration, Some(EndCause::Explicit(*reason)));
        }
    }
    let silent_since = set.iter().map(|event| event.emitted_at).min_by_key(|time| Reverse(*time));
    let timeout = aggregator.inactivity_timeout.as_secs_f64();
    match (as_of, silent_since) {
        (Some(as_of), Some(last)) if seconds_after(as_of, last) >= timeout => {
            (Status::TimedOut, Some(last), since_start(last), Some(EndCause::Timeout))
        }
        _ => (if started_at.is_some() { Status::Active } else { Status::Orphan }, None, None, None),
    }
}
