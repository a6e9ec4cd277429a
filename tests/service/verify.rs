//! `sessionfold verify`: it finds what was changed behind the service's back, and mends it.

use std::{collections::BTreeSet, process::Output};

use serde_json::Value;
use sessionfold::generate::{Generator, Shape};
use sqlx::{AssertSqlSafe, Executor};

use crate::{
    deployment::{Deployment, MAX_VALUE_BYTES},
    program,
    records::{prompt, started},
};

/// A deployment whose log was read to its end.
async fn drained() -> Deployment {
    let deployment = Deployment::new(2).await;
    let shape = Shape { records: 3_000, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() };
    deployment.send(&Generator::new(shape).collect::<Vec<_>>()).await;
    deployment.drain().await;
    deployment
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn assert_all_equal(deployment: &Deployment, arguments: &[&str]) {
    let output = program::run(deployment, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains(": all equal"), "{}", text(&output));
}

/// The sessions and fields that it names, and exit code 1.
#[track_caller]
fn named(deployment: &Deployment, arguments: &[&str]) -> BTreeSet<(String, String)> {
    let output = program::run(deployment, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let differences = report["differences"].as_array().unwrap();
    let field = |difference: &Value, name: &str| difference[name].as_str().unwrap().to_owned();
    differences.iter().map(|found| (field(found, "session_id"), field(found, "field"))).collect()
}

fn fields(session: &str, fields: &[&str]) -> BTreeSet<(String, String)> {
    fields.iter().map(|field| (session.to_owned(), (*field).to_owned())).collect()
}

/// Runs a statement that returns the session it changed.
async fn change(deployment: &Deployment, statement: &'static str) -> String {
    let mut connection = deployment.connect().await;
    sqlx::query_scalar(statement).fetch_one(&mut connection).await.unwrap()
}

const BRANCH: &str = "UPDATE sessions SET git_branch = 'elsewhere'
    WHERE session_id = (SELECT max(session_id) FROM sessions) RETURNING session_id";
const PREVIEW: &str = "UPDATE prompts SET prompt_preview = prompt_preview || '!'
    WHERE prompt_id = (SELECT min(prompt_id::text)::uuid FROM prompts) RETURNING session_id";
const EXECUTION: &str = "DELETE FROM tool_executions
    WHERE tool_execution_id = (SELECT min(tool_execution_id::text)::uuid FROM tool_executions WHERE success)
    RETURNING session_id";

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_log_is_all_equal() {
    let deployment = drained().await;
    assert_all_equal(&deployment, &["verify"]);
    assert_all_equal(&deployment, &["verify", "--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_that_a_fold_gives_is_compared() {
    let deployment = drained().await;
    let mut connection = deployment.connect().await;
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT column_name::text, udt_name::text FROM information_schema.columns
        WHERE table_schema = 'sessionfold' AND table_name = 'sessions' AND is_generated = 'NEVER'
            AND column_name NOT IN ('session_id', 'status', 'end_provenance', 'sides', 'version', 'created_at', 'updated_at')",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut changed = BTreeSet::new();
    let session: String =
        sqlx::query_scalar("SELECT min(session_id) FROM sessions").fetch_one(&mut connection).await.unwrap();
    for (column, kind) in columns {
        let value = match kind.as_str() {
            "text" => "'other'",
            "uuid" => "'00000000-0000-0000-0000-00000000000f'",
            "timestamptz" => "'2001-01-01'",
            "int8" | "float8" => "987654",
            "json" | "jsonb" => "'{}'",
            "bytea" => "NULL",
            other => panic!("{other}"),
        };
        let update = format!("UPDATE sessions SET {column} = {value} WHERE session_id = '{session}'");
        connection.execute(AssertSqlSafe(update)).await.unwrap();
        changed.insert((session.clone(), column));
    }
    assert!(changed.len() > 18);
    assert_eq!(named(&deployment, &["verify"]), changed);
    assert_eq!(named(&deployment, &["verify", "--session", &session]), changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_by_hand_is_named() {
    let deployment = drained().await;
    let session = change(&deployment, BRANCH).await;
    assert_eq!(named(&deployment, &["verify"]), fields(&session, &["git_branch"]));
    let output = program::run(&deployment, &["verify"]);
    assert!(text(&output).contains("elsewhere"), "{}", text(&output));
    assert!(text(&output).contains("1 difference in 1 of them"), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_event_shows_in_the_digest() {
    let deployment = drained().await;
    let session = change(&deployment, PREVIEW).await;
    assert_eq!(named(&deployment, &["verify"]), fields(&session, &["event_digest"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_event_shows_in_counts_and_digest() {
    let deployment = drained().await;
    let session = change(&deployment, EXECUTION).await;
    let named = named(&deployment, &["verify"]);
    let expected = fields(&session, &["event_count", "event_digest", "state", "tool_count", "tool_usage"]);
    assert!(named.is_superset(&expected), "{named:?}");
    assert!(named.iter().all(|(found, _)| *found == session));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_a_row_and_a_row_without_events_are_named() {
    let deployment = drained().await;
    let mut connection = deployment.connect().await;
    connection.execute("ALTER TABLE sessions DISABLE TRIGGER ALL").await.unwrap();
    let without_row = change(
        &deployment,
        "DELETE FROM sessions WHERE session_id = (SELECT max(session_id) FROM prompts) RETURNING session_id",
    )
    .await;
    let without_events = "WITH s AS (SELECT min(session_id) AS session_id FROM sessions),
        p AS (DELETE FROM prompts USING s WHERE prompts.session_id = s.session_id),
        t AS (DELETE FROM tool_executions USING s WHERE tool_executions.session_id = s.session_id),
        l AS (DELETE FROM lifecycle_events USING s WHERE lifecycle_events.session_id = s.session_id)
        SELECT session_id FROM s";
    let without_events = change(&deployment, without_events).await;
    let mut both = fields(&without_row, &["session"]);
    both.extend(fields(&without_events, &["session"]));
    assert_eq!(named(&deployment, &["verify"]), both);
    assert_eq!(named(&deployment, &["verify", "--session", &without_row]), fields(&without_row, &["session"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_option_is_wrong_usage() {
    let deployment = Deployment::new(1).await;
    for arguments in [["verify", "--from", "yesterday"], ["verify", "--limit", "many"]] {
        assert_eq!(program::run(&deployment, &arguments).status.code(), Some(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_timed_out_are_compared_as_timed_out() {
    let deployment = drained().await;
    let session = change(
        &deployment,
        "UPDATE sessions SET status = 'timed_out', ended_at = last_event_at, end_reason = 'timeout',
            end_provenance = 'timeout', duration_seconds = extract(epoch FROM last_event_at - started_at)
        WHERE session_id = (SELECT min(session_id) FROM sessions WHERE status = 'active') RETURNING session_id",
    )
    .await;
    assert_all_equal(&deployment, &["verify", "--session", &session]);
    assert_all_equal(&deployment, &["verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_topics_hold_is_in_the_tables_and_a_deleted_event_is_named() {
    let deployment = drained().await;
    assert_all_equal(&deployment, &["verify", "--topics"]);

    let mut connection = deployment.connect().await;
    let (session, id): (String, String) = sqlx::query_as(
        "DELETE FROM tool_executions
        WHERE tool_execution_id = (SELECT min(tool_execution_id::text)::uuid FROM tool_executions)
        RETURNING session_id, tool_execution_id::text",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let deleted = format!("hook.tool.executed {id} ");
    let is_named = |(found, field): &(String, String)| *found == session && field.starts_with(&deleted);
    assert!(named(&deployment, &["verify", "--topics"]).iter().any(is_named));
    // Repaired, the row says what is stored, and only the topics know better.
    assert_eq!(program::run(&deployment, &["verify", "--repair", "--yes"]).status.code(), Some(0));
    assert_all_equal(&deployment, &["verify"]);
    let left = named(&deployment, &["verify", "--topics"]);
    assert!(left.len() == 1 && left.iter().all(is_named), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_no_topic_holds_and_a_changed_one_are_named() {
    let deployment = drained().await;
    let changed = change(&deployment, PREVIEW).await;
    let surplus = change(
        &deployment,
        "INSERT INTO lifecycle_events (session_id, kind, emitted_at, causation_id, working_directory, hook_source,
            entity_id, correlation_id, action_description)
        SELECT max(session_id), 'started', '2026-01-01', gen_random_uuid(), '/', 'startup', gen_random_uuid(),
            gen_random_uuid(), '' FROM sessions RETURNING session_id",
    )
    .await;
    let named = named(&deployment, &["verify", "--topics", "--limit", "1000"]);
    let has =
        |session: &str, kind: &str| named.iter().any(|(found, field)| found == session && field.starts_with(kind));
    assert!(has(&changed, "hook.prompt.submitted ") && has(&surplus, "hook.session.started "), "{named:?}");
    assert_eq!(named.iter().filter(|(_, field)| field.starts_with("hook.")).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_writes_anew_what_differs_and_leaves_the_rest_alone() {
    let deployment = drained().await;
    let mut connection = deployment.connect().await;
    let branch = change(&deployment, BRANCH).await;
    change(&deployment, EXECUTION).await;
    let status = change(
        &deployment,
        "UPDATE sessions SET status = 'orphan', aggregator = 'convergent/0', event_digest = NULL
        WHERE session_id = (SELECT min(session_id) FROM sessions WHERE status = 'ended') RETURNING session_id",
    )
    .await;
    connection.execute("ALTER TABLE sessions DISABLE TRIGGER ALL").await.unwrap();
    let row = "DELETE FROM sessions WHERE session_id = (SELECT max(session_id) FROM prompts WHERE session_id <> (
        SELECT max(session_id) FROM sessions)) RETURNING session_id";
    let row = change(&deployment, row).await;
    let versions = "SELECT session_id, version FROM sessions ORDER BY 1";
    let before: Vec<(String, i64)> = sqlx::query_as(versions).fetch_all(&mut connection).await.unwrap();
    assert_eq!(program::run(&deployment, &["verify", "--repair"]).status.code(), Some(2), "nobody said yes");
    let differing: BTreeSet<String> = named(&deployment, &["verify"]).into_iter().map(|(session, _)| session).collect();
    assert!(differing.is_superset(&[&branch, &status, &row].map(Clone::clone).into()));

    let output = program::run(&deployment, &["verify", "--repair", "--yes"]);

    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_all_equal(&deployment, &["verify"]);
    let after: Vec<(String, i64)> = sqlx::query_as(versions).fetch_all(&mut connection).await.unwrap();
    let before: BTreeSet<_> = before.into_iter().collect();
    let rewritten: BTreeSet<String> =
        after.into_iter().filter(|row| !before.contains(row)).map(|(session, _)| session).collect();
    assert_eq!(rewritten, differing);
    let causes: Vec<(String, Option<String>, String)> = sqlx::query_as(
        "SELECT session_id, from_status, to_status FROM transitions WHERE cause = 'repair' AND from_status IS NOT NULL",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(causes, [(status, Some("orphan".to_owned()), "ended".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_leaves_out_what_is_outside() {
    let deployment = drained().await;
    let session = change(&deployment, BRANCH).await;
    let mut connection = deployment.connect().await;
    let last: String = sqlx::query_scalar("SELECT to_json(last_event_at) #>> '{}' FROM sessions WHERE session_id = $1")
        .bind(&session)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_all_equal(&deployment, &["verify", "--to", &last]);
    assert_eq!(named(&deployment, &["verify", "--from", &last]), fields(&session, &["git_branch"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_can_not_be_read_is_named_and_the_others_are_repaired() {
    let deployment = drained().await;
    let unreadable = change(
        &deployment,
        "UPDATE prompts SET prompt_length = -1 WHERE prompt_id = (SELECT min(prompt_id::text)::uuid FROM prompts)
        RETURNING session_id",
    )
    .await;
    let branch = "UPDATE sessions SET git_branch = 'elsewhere' WHERE session_id = (SELECT max(session_id) FROM sessions
        WHERE session_id <> (SELECT session_id FROM prompts WHERE prompt_length < 0)) RETURNING session_id";
    let branch = change(&deployment, branch).await;
    let mut both = fields(&unreadable, &["prompts.prompt_length"]);
    let unreadable_alone = both.clone();
    both.extend(fields(&branch, &["git_branch"]));
    assert_eq!(named(&deployment, &["verify"]), both);
    assert_eq!(named(&deployment, &["verify", "--topics"]), both);
    assert_eq!(program::run(&deployment, &["verify", "--repair", "--yes"]).status.code(), Some(1), "one is left");
    assert_eq!(named(&deployment, &["verify"]), unreadable_alone);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_row_that_timed_out_is_named_alone_and_its_repair_is_a_transition() {
    let deployment = drained().await;
    let session = change(
        &deployment,
        "UPDATE sessions SET ended_at = last_event_at, end_reason = 'timeout', end_provenance = 'timeout',
            duration_seconds = extract(epoch FROM last_event_at - started_at)
        WHERE session_id = (SELECT min(session_id) FROM sessions WHERE status = 'active') RETURNING session_id",
    )
    .await;
    assert_eq!(named(&deployment, &["verify"]), fields(&session, &["status"]));
    assert_eq!(program::run(&deployment, &["verify", "--repair", "--yes"]).status.code(), Some(0));
    let transition = change(
        &deployment,
        "SELECT session_id || ' ' || from_status || ' ' || to_status FROM transitions WHERE cause = 'repair'",
    )
    .await;
    assert_eq!(transition, format!("{session} active timed_out"));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_set_aside_may_be_stored_or_not() {
    let mut deployment = Deployment::new(1).await;
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z"), prompt("s", 2, "2026-03-01T09:00:01Z")]).await;
    // Today's settings would take what was too large once.
    deployment.set("SESSIONFOLD_EVENTS__MAX_VALUE_BYTES", "10");
    assert_eq!(deployment.drain().await.dead_letters(), 2);
    deployment.set("SESSIONFOLD_EVENTS__MAX_VALUE_BYTES", "10000");
    assert_all_equal(&deployment, &["verify", "--topics"]);
    let mut connection = deployment.connect().await;
    connection.execute("UPDATE checkpoints SET next_offset = 0").await.unwrap();
    assert_eq!(deployment.drain().await.applied, 2);
    assert_all_equal(&deployment, &["verify", "--topics"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sessions_than_a_page_has_are_looked_for_each() {
    let deployment = Deployment::new(1).await;
    let sent: Vec<_> = (0..600).map(|number| started(&format!("s{number:03}"), 1, "2026-03-01T09:00:00Z")).collect();
    deployment.send(&sent).await;
    deployment.drain().await;
    let mut connection = deployment.connect().await;
    connection.execute("ALTER TABLE sessions DISABLE TRIGGER ALL").await.unwrap();
    connection.execute("DELETE FROM sessions WHERE session_id = 's001'").await.unwrap();
    let ids: Vec<String> = (0..600).map(|number| format!("--session=s{number:03}")).collect();
    let arguments: Vec<&str> = ["verify"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    assert_eq!(named(&deployment, &arguments), fields("s001", &["session"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_redriven_with_other_settings_are_told_apart() {
    let mut deployment = Deployment::new(1).await;
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z"), prompt("s", 2, "2026-03-01T09:00:01Z")]).await;
    deployment.set("SESSIONFOLD_EVENTS__MAX_VALUE_BYTES", "10");
    assert_eq!(deployment.drain().await.dead_letters(), 2);
    let others = ["--set", "events.max_value_bytes=10000"];
    let redrive = ["dead-letters", "redrive", "--yes"];
    assert!(program::run(&deployment, &[&redrive[..], &others].concat()).status.success());

    assert_all_equal(&deployment, &["verify", "--topics"]);
    let told = |arguments: &[&str]| {
        let output = program::run(&deployment, &[&["verify", "--topics", "--json"], arguments].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["redriven_by_others"].as_u64().unwrap()
    };
    assert_eq!(told(&[]), 2);
    assert_eq!(told(&others), 0, "these are the settings");
    let printed = text(&program::run(&deployment, &["verify", "--topics"]));
    assert!(printed.starts_with("2 events are stored by `dead-letters redrive` with other settings"), "{printed}");

    // Only those that an operator redrove: what is stored of another dead letter is in no topic.
    let mut connection = deployment.connect().await;
    let forget = "UPDATE dead_letters SET status = 'open' WHERE reason = 'too_large'";
    connection.execute(forget).await.unwrap();
    assert_eq!(named(&deployment, &["verify", "--topics"]).len(), 2);
}
