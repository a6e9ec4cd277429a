//! The answers, against a computation from the events that were sent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sessionfold::{
    event::{Body, Event, EventTime},
    generate::{Generator, Shape},
};

use crate::{
    deployment::{Deployment, MAX_VALUE_BYTES},
    expected::Expected,
    http::{
        client::{Client, PATIENCE},
        ready,
    },
    program::{Instance, until},
};

use super::agent::Agent;

/// An instance beside what was sent and is all in its tables.
async fn with_events(records: u64) -> (Instance, Client, Expected) {
    let mut deployment = Deployment::new(2).await;
    let shape = Shape { records, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() };
    let records: Vec<_> = Generator::new(shape).collect();
    deployment.send(&records).await;
    deployment.drain().await;
    // The sweep would time sessions out.
    deployment.set("SESSIONFOLD_AGGREGATOR__INACTIVITY_TIMEOUT", "3650d");
    let (instance, client) = ready(&mut deployment).await;
    (instance, client, Expected::of(&records))
}

/// The tool executions from an instant on, and before another.
fn executions(expected: &Expected, from: EventTime, to: EventTime) -> Vec<Event> {
    let is_one = |event: &Event| matches!(event.body, Body::Tool(_)) && (from..to).contains(&event.emitted_at);
    expected.stored_events().into_iter().filter(is_one).collect()
}

/// The first and the last instant, and those that cut the time between into four.
fn instants(expected: &Expected) -> Vec<EventTime> {
    let times: BTreeSet<EventTime> = expected.stored_events().iter().map(|event| event.emitted_at).collect();
    let (first, last) = (*times.first().unwrap(), *times.last().unwrap());
    let at = |quarter: i32| {
        let step = (last.as_utc() - first.as_utc()) / 4;
        EventTime::from_utc(first.as_utc() + step * quarter + chrono::TimeDelta::microseconds(1)).unwrap()
    };
    [first].into_iter().chain((1..=4).map(at)).collect()
}

fn usage_of(name: &str, events: &[&Event]) -> Value {
    let tools = || events.iter().filter_map(|event| if let Body::Tool(tool) = &event.body { Some(tool) } else { None });
    let mut durations: Vec<i64> = tools().filter_map(|tool| tool.duration_ms).map(|ms| i64::from(ms.get())).collect();
    durations.sort_unstable();
    let percentile = |hundredths: usize| {
        let rank = (durations.len() * hundredths).div_ceil(100).max(1);
        durations.get(rank - 1).copied()
    };
    let failures = tools().filter(|tool| !tool.success).count();
    let sessions: BTreeSet<&str> = events.iter().map(|event| event.session_id.as_str()).collect();
    let rate = (events.len() - failures) as f64 / events.len() as f64;
    json!({
        "tool_name": name, "calls": events.len(), "failures": failures, "sessions": sessions.len(),
        "success_rate": (rate * 10_000.0).round() / 10_000.0, "timed_calls": durations.len(),
        "p50_ms": percentile(50), "p95_ms": percentile(95), "max_ms": durations.last(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_of_tools_and_the_failures_are_those_of_the_events() {
    let (_instance, client, expected) = with_events(4_000).await;
    let agent = Agent(&client);
    let instants = instants(&expected);
    let mut failures_seen = 0;
    for (from, to) in [(0, 4), (0, 1), (1, 3), (3, 4)].map(|(from, to)| (instants[from], instants[to])) {
        let events = executions(&expected, from, to);
        let mut by_tool: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in &events {
            let Body::Tool(tool) = &event.body else { continue };
            by_tool.entry(tool.tool_name.as_str()).or_default().push(event);
        }
        let range = json!({"from": from.to_string(), "to": to.to_string(), "limit": 100});
        let answer = agent.answer("tool_usage", range.clone()).await;
        let mut usage: Vec<Value> = by_tool.iter().map(|(name, events)| usage_of(name, events)).collect();
        usage.sort_by_key(|of| std::cmp::Reverse(of["calls"].as_u64()));
        assert_eq!((&answer["tools"], &answer["more"]), (&json!(usage), &json!(false)));
        assert!(usage.len() > 3);

        let mut failed: Vec<_> =
            events.iter().filter(|e| matches!(&e.body, Body::Tool(tool) if !tool.success)).collect();
        failed
            .sort_by_key(|event| std::cmp::Reverse((event.emitted_at, event.session_id.clone(), event.position().id)));
        let failed: Vec<Value> =
            failed.iter().map(|event| json!([event.session_id.as_str(), event.position().id])).collect();
        failures_seen += failed.len();
        let mut pages = range;
        pages["limit"] = json!(7);
        let told = agent.all_pages("failures", pages, "failures").await;
        let told: Vec<Value> = told.iter().map(|row| json!([row["session_id"], row["tool_execution_id"]])).collect();
        assert_eq!(told, failed);
    }
    assert!(failures_seen > 40, "{failures_seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_their_timelines_are_those_of_the_events() {
    let (_instance, client, expected) = with_events(2_000).await;
    let agent = Agent(&client);
    let snapshots = expected.snapshots();
    let mut ids: Vec<&String> = snapshots.keys().collect();
    ids.sort_by_key(|id| std::cmp::Reverse(snapshots[*id].last_event_at));
    let found = agent.all_pages("find_sessions", json!({"limit": 20}), "sessions").await;
    let found: Vec<&str> = found.iter().map(|row| row["session_id"].as_str().unwrap()).collect();
    assert!(found == ids && ids.len() > 40, "{found:?} {ids:?}");
    let active = agent.all_pages("find_sessions", json!({"limit": 100, "status": ["active"]}), "sessions").await;
    assert_eq!(active.len(), snapshots.values().filter(|of| of.status.as_str() == "active").count());

    for id in &ids[..5] {
        let events: Vec<Event> =
            expected.stored_events().into_iter().filter(|event| event.session_id.as_str() == id.as_str()).collect();
        let session = agent.answer("get_session", json!({"session_id": id})).await["session"].take();
        let snapshot = &snapshots[*id];
        assert_eq!(session["event_count"], json!(events.len()));
        assert_eq!(session["tool_usage"], json!(snapshot.tool_usage));
        assert_eq!(session["last_event_at"], json!(snapshot.last_event_at));
        let entries = agent.all_pages("get_timeline", json!({"session_id": id, "limit": 9}), "entries").await;
        let mut ordered = events;
        ordered.sort_by_key(Event::position);
        let told: Vec<&Value> = entries.iter().filter(|entry| entry["payload"].is_object()).collect();
        let wanted: Vec<Value> = ordered.iter().map(Event::to_json).collect();
        assert_eq!(told, wanted.iter().collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_how_fresh_it_is_and_the_pipeline_how_it_stands() {
    let (_instance, client, expected) = with_events(1_000).await;
    let agent = Agent(&client);
    let last = expected.snapshots().values().map(|of| of.last_event_at).max().unwrap();
    let caught_up = async || agent.answer("pipeline_health", json!({})).await["freshness"]["lag"] == 0;
    until("it has told where the logs end", PATIENCE, caught_up).await;
    for (tool, arguments) in [("find_sessions", json!({})), ("tool_usage", json!({})), ("failures", json!({}))] {
        let freshness = agent.answer(tool, arguments).await["freshness"].take();
        assert_eq!((&freshness["lag"], &freshness["lag_of"]), (&json!(0), &json!("instance")), "{freshness}");
        assert_eq!(freshness["last_event_at"], json!(last));
        assert!(freshness["last_checkpoint_at"].is_string() && freshness["as_of"].is_string());
    }
    let health = agent.answer("pipeline_health", json!({"limit": 3})).await;
    let mut letters: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, _) in &expected.dead_letters {
        *letters.entry(reason).or_default() += 1;
    }
    assert!(!letters.is_empty());
    assert_eq!(health["open_dead_letters"], json!(letters));
    assert_eq!((&health["seen_by"], &health["halted_partitions"]), (&json!("consumer"), &json!(0)));
    assert_eq!((health["partitions"].as_array().unwrap().len(), &health["partitions_left_out"]), (3, &json!(5)));
    let consumer = &health["consumer"];
    assert_eq!((&consumer["ready"], &consumer["breaker"]), (&json!(true), &json!("closed")), "{health}");
    assert!(consumer["parts"]["sweep"].is_object());
}
