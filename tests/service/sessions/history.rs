//! `sessions timeline` and `export`.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sessionfold::generate::{Generator, Shape};
use sqlx::Executor;

use crate::{
    deployment::{Deployment, MAX_VALUE_BYTES},
    expected::Expected,
};

use super::{json, printed, refused, two_sessions};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_is_the_session_in_order_with_the_changes_of_its_status() {
    let deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let drawn = printed(&deployment, &["timeline", "a"]);
    let rows: Vec<&str> = drawn.lines().collect();
    assert_eq!(rows[0], "a: ended, 4 events, from 2026-03-01 09:00:00 UTC");
    for (row, part) in rows[1..].iter().zip([
        "+0:00.0  ▶ start   startup in /work",
        "+0:05.0  » prompt  \"do it\"",
        "+0:10.0  ✓ Bash",
        "+1:00.0  ■ end     other",
        "⋮ ",
        "~ status  new -> ended (event)",
    ]) {
        assert!(row.contains(part), "{part}\n{drawn}");
    }
    assert_eq!(rows.len(), 7, "{drawn}");
    assert!(!drawn.contains('\x1b'), "no colours where there is no terminal");

    let whole = json(&deployment, &["timeline", "a"]);
    assert_eq!(whole["session"]["session_id"], "a");
    let mut paged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let position: Vec<&str> = after.iter().flat_map(|after| ["--after", after.as_str()]).collect();
        let page = json(&deployment, &[&["timeline", "a", "--limit", "2"], &position[..]].concat());
        paged.extend(page["entries"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = Some(next.to_owned());
    }
    assert_eq!(Value::Array(paged), whole["entries"]);
    let kinds: Vec<&Value> = whole["entries"].as_array().unwrap().iter().map(|entry| &entry["event_type"]).collect();
    let started_to_ended =
        ["hook.session.started", "hook.prompt.submitted", "hook.tool.executed", "hook.session.ended"];
    assert_eq!(kinds[..4], started_to_ended.map(|kind| json!(kind)).each_ref()[..]);
    assert_eq!(whole["entries"][4]["transition"]["to_status"], "ended");

    assert_eq!(refused(&deployment, &["timeline", "c"]), (1, "sessionfold: no session \"c\" is stored\n".to_owned()));
    assert_eq!(refused(&deployment, &["timeline", "a", "--after", "?"]).0, 2);
}

/// The order of `fold`, which goes by times, kinds and ids, in pages that end within a tie.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_instant_are_ordered_by_kind_and_id() {
    let deployment = Deployment::new(1).await;
    let mut connection = deployment.connect().await;
    two_sessions(&deployment).await;
    connection
        .execute(
            "UPDATE prompts SET emitted_at = '2026-03-01 09:00:00+00'; DELETE FROM transitions;
            UPDATE lifecycle_events SET emitted_at = '2026-03-01 09:00:00+00';
            INSERT INTO tool_executions (session_id, tool_execution_id, emitted_at, tool_name, success, entity_id,
                correlation_id, causation_id, action_description)
            SELECT 'a', gen_random_uuid(), '2026-03-01 09:00:00+00', 'Bash', true, gen_random_uuid(), gen_random_uuid(),
                gen_random_uuid(), '' FROM generate_series(1, 20)",
        )
        .await
        .unwrap();
    let mut ids = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let position: Vec<&str> = after.iter().flat_map(|after| ["--after", after.as_str()]).collect();
        let page = json(&deployment, &[&["timeline", "a", "--limit", "7"], &position[..]].concat());
        for entry in page["entries"].as_array().unwrap() {
            let kind = entry["event_type"].as_str().unwrap();
            let payload = &entry["payload"];
            let id = ["prompt_id", "tool_execution_id", "causation_id"]
                .map(|id| payload[id].as_str())
                .into_iter()
                .flatten()
                .next();
            ids.push((payload["emitted_at"].as_str().unwrap().to_owned(), kind.to_owned(), id.unwrap().to_owned()));
        }
        let Some(next) = page["next"].as_str() else { break };
        after = Some(next.to_owned());
    }
    let rank = |kind: &str| {
        ["hook.session.started", "hook.prompt.submitted", "hook.tool.executed", "hook.session.ended"]
            .iter()
            .position(|known| *known == kind)
    };
    let mut sorted = ids.clone();
    sorted.sort_by_key(|(at, kind, id)| (at.clone(), rank(kind), id.clone()));
    assert_eq!((ids.len(), &ids), (24, &sorted));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_every_session_and_every_event_once() {
    let deployment = Deployment::new(2).await;
    let shape = Shape { records: 20_000, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() };
    let sent: Vec<_> = Generator::new(shape).collect();
    deployment.send(&sent).await;
    deployment.drain().await;
    let expected = Expected::of(&sent);
    let sessions = lines(&printed(&deployment, &["export"]));
    let ids: Vec<&str> = sessions.iter().map(|session| session["session_id"].as_str().unwrap()).collect();
    let snapshots = expected.snapshots();
    assert!(ids.len() > 500, "more than a page: {}", ids.len());
    assert_eq!(ids, snapshots.keys().map(String::as_str).collect::<Vec<_>>());
    for (session, snapshot) in sessions.iter().zip(snapshots.values()) {
        assert_eq!(session["event_count"], snapshot.event_count);
    }
    let mut events = printed(&deployment, &["export", "--events"]).lines().map(str::to_owned).collect::<Vec<_>>();
    let mut stored: Vec<String> = expected.stored_events().iter().map(|event| event.to_json().to_string()).collect();
    events.sort_unstable();
    stored.sort_unstable();
    assert!(events == stored, "{} events exported, {} sent", events.len(), stored.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_obeys_filters_and_writes_long_sessions_in_order() {
    let deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let ids = |arguments: &[&str]| {
        let sessions = lines(&printed(&deployment, &[&["export"], arguments].concat()));
        sessions.iter().map(|session| session["session_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["a", "b"]);
    assert_eq!(ids(&["--status", "orphan"]), ["b"]);
    assert_eq!(ids(&["--status", "active"]), [""; 0]);
    let mut connection = deployment.connect().await;
    connection
        .execute(
            "INSERT INTO tool_executions (session_id, tool_execution_id, emitted_at, tool_name, success, entity_id,
                correlation_id, causation_id, action_description)
            SELECT 'a', gen_random_uuid(), timestamptz '2026-03-01 09:00:00+00' + make_interval(secs => i * 0.001), 'Bash',
                true, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), ''
            FROM generate_series(1, 25000) AS i;
            UPDATE sessions SET event_count = 25004 WHERE session_id = 'a'",
        )
        .await
        .unwrap();
    let events = lines(&printed(&deployment, &["export", "--events"]));
    let times: Vec<_> = events
        .iter()
        .map(|event| sessionfold::event::EventTime::parse(event["payload"]["emitted_at"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(events.len(), 25_005);
    assert!(times[..25_004].is_sorted());
    assert_eq!(events[25_004]["payload"]["session_id"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_leaves_ends_an_export_quietly() {
    let deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    for arguments in [&["export"][..], &["export", "--events"], &["list"], &["show", "a"], &["timeline", "a", "--json"]]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sessionfold"));
        command.arg("sessions").args(arguments).envs(deployment.settings.iter().map(|(name, value)| (name, value)));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}
