//! Reads the tables by their names in the contract, and compares them with what was sent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sessionfold::{event::Event, fold::Snapshot};
use sqlx::PgConnection;

use crate::{deployment::Deployment, expected::Expected};

/// A row of a query, as JSON.
pub async fn rows(connection: &mut PgConnection, query: &'static str) -> Vec<Value> {
    sqlx::query_scalar::<_, Value>(query).fetch_all(connection).await.unwrap()
}

/// A time in one form; none if the text is none.
pub fn instant_of(text: &str) -> Option<String> {
    sessionfold::event::EventTime::parse(text).ok().map(|time| time.to_string())
}

/// Seconds since 1970 to the microsecond, which is how both sides write a time.
fn instant(time: sessionfold::event::EventTime) -> i64 {
    time.micros_since_epoch()
}

fn session_row(id: &str, snapshot: &Snapshot) -> Value {
    json!({
        "session_id": id,
        "status": snapshot.status,
        "correlation_id": snapshot.correlation_id,
        "task_id": snapshot.task_id,
        "started_at": snapshot.started_at.map(instant),
        "ended_at": snapshot.ended_at.map(instant),
        "duration_seconds": snapshot.duration_seconds,
        "working_directory": snapshot.working_directory,
        "git_branch": snapshot.git_branch,
        "hook_source": snapshot.hook_source,
        "end_reason": snapshot.end_cause.map(|cause| cause.reason()),
        "end_provenance": snapshot.end_cause.map(|cause| cause.provenance()),
        "run_count": snapshot.run_count,
        "prompt_count": snapshot.prompt_count,
        "tool_count": snapshot.tool_count,
        "tool_failure_count": snapshot.tool_failure_count,
        "tools_used_count": snapshot.tools_used_count,
        "tool_usage": snapshot.tool_usage,
        "event_count": snapshot.event_count,
        "first_event_at": instant(snapshot.first_event_at),
        "last_event_at": instant(snapshot.last_event_at),
    })
}

/// The same columns of the table.
const SESSIONS: &str = "SELECT jsonb_build_object(
    'session_id', session_id, 'status', status, 'correlation_id', correlation_id, 'task_id', task_id,
    'started_at', (extract(epoch FROM started_at) * 1000000)::bigint,
    'ended_at', (extract(epoch FROM ended_at) * 1000000)::bigint,
    'duration_seconds', duration_seconds, 'working_directory', working_directory, 'git_branch', git_branch,
    'hook_source', hook_source, 'end_reason', end_reason, 'end_provenance', end_provenance, 'run_count', run_count,
    'prompt_count', prompt_count, 'tool_count', tool_count, 'tool_failure_count', tool_failure_count,
    'tools_used_count', tools_used_count, 'tool_usage', tool_usage, 'event_count', event_count,
    'first_event_at', (extract(epoch FROM first_event_at) * 1000000)::bigint,
    'last_event_at', (extract(epoch FROM last_event_at) * 1000000)::bigint)
    FROM sessions ORDER BY session_id";

/// A stored event as its normalized JSON, by which it is compared with the one sent.
const EVENTS: [&str; 3] = [
    "SELECT jsonb_build_object('event_type', 'hook.prompt.submitted', 'session_id', session_id, 'entity_id', entity_id,
        'correlation_id', correlation_id, 'causation_id', causation_id, 'task_id', task_id,
        'action_description', action_description, 'emitted_at', (extract(epoch FROM emitted_at) * 1000000)::bigint,
        'prompt_id', prompt_id, 'prompt_preview', prompt_preview, 'prompt_length', prompt_length,
        'detected_intent', detected_intent) FROM prompts",
    "SELECT jsonb_build_object('event_type', 'hook.tool.executed', 'session_id', session_id, 'entity_id', entity_id,
        'correlation_id', correlation_id, 'causation_id', causation_id, 'task_id', task_id,
        'action_description', action_description, 'emitted_at', (extract(epoch FROM emitted_at) * 1000000)::bigint,
        'tool_execution_id', tool_execution_id, 'tool_name', tool_name, 'success', success,
        'duration_ms', duration_ms, 'summary', summary) FROM tool_executions",
    "SELECT jsonb_build_object('event_type', 'hook.session.' || kind, 'session_id', session_id, 'entity_id', entity_id,
        'correlation_id', correlation_id, 'causation_id', causation_id, 'task_id', task_id,
        'action_description', action_description, 'emitted_at', (extract(epoch FROM emitted_at) * 1000000)::bigint)
        || CASE kind WHEN 'started' THEN jsonb_build_object('working_directory', working_directory,
            'git_branch', git_branch, 'hook_source', hook_source)
        ELSE jsonb_build_object('reason', reason, 'duration_seconds', duration_seconds,
            'tools_used_count', tools_used_count) END FROM lifecycle_events",
];

fn event_row(event: &Event) -> Value {
    let mut envelope = event.to_json();
    let mut row = envelope["payload"].take();
    row["event_type"] = envelope["event_type"].take();
    row["emitted_at"] = instant(event.emitted_at).into();
    row
}

/// Numbers compare by value: Postgres writes 12 where we write 12.0.
fn comparable(mut row: Value) -> String {
    for value in row.as_object_mut().unwrap().values_mut() {
        if let Some(number) = value.as_f64() {
            *value = json!(number);
        }
    }
    row.to_string()
}

/// Compares two lists of rows, and shows only what differs.
fn assert_same_rows(table: &str, actual: impl IntoIterator<Item = Value>, expected: impl IntoIterator<Item = Value>) {
    let actual: BTreeSet<String> = actual.into_iter().map(comparable).collect();
    let expected: BTreeSet<String> = expected.into_iter().map(comparable).collect();
    let surplus: Vec<_> = actual.difference(&expected).take(3).collect();
    let missing: Vec<_> = expected.difference(&actual).take(3).collect();
    assert!(surplus.is_empty() && missing.is_empty(), "{table}: surplus {surplus:#?}, missing {missing:#?}");
}

/// Groups that meet the same bad record at the same moment may each keep it, since none sees the other's yet.
pub async fn forget_second_letters(deployment: &Deployment) {
    let forget = "DELETE FROM dead_letters d USING dead_letters o
        WHERE o.topic = d.topic AND o.partition = d.partition AND o.record_offset = d.record_offset AND o.id < d.id";
    sqlx::query(forget).execute(&mut deployment.connect().await).await.unwrap();
}

/// All tables equal the fold of what was sent.
pub async fn assert_tables_equal(deployment: &Deployment, expected: &Expected) {
    let mut connection = deployment.connect().await;
    let snapshots = expected.snapshots();
    assert_same_rows(
        "sessions",
        rows(&mut connection, SESSIONS).await,
        snapshots.iter().map(|(id, s)| session_row(id, s)),
    );

    let mut stored = Vec::new();
    for query in EVENTS {
        stored.extend(rows(&mut connection, query).await);
    }
    assert_eq!(stored.len() as u64, expected.distinct_events());
    assert_same_rows("events", stored, expected.stored_events().iter().map(event_row));

    let mut dead_letters: Vec<(String, Option<Vec<u8>>)> =
        sqlx::query_as("SELECT reason, value FROM dead_letters").fetch_all(&mut connection).await.unwrap();
    dead_letters.sort();
    assert_eq!(dead_letters.len(), expected.dead_letters.len(), "dead letters");
    assert!(dead_letters == expected.dead_letters, "dead letters are kept byte for byte");

    assert_transitions_lead_to_the_sessions(&mut connection, &snapshots).await;
    assert_checkpoints_add_up(&mut connection, expected.records).await;
}

/// A session's last transition names the status that it has, and each begins where the one before ended.
async fn assert_transitions_lead_to_the_sessions(
    connection: &mut PgConnection,
    snapshots: &BTreeMap<String, Snapshot>,
) {
    let transitions: Vec<(String, Option<String>, String)> = sqlx::query_as(
        "SELECT session_id, from_status, to_status FROM transitions ORDER BY session_id, session_version",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    let mut reached: BTreeMap<String, String> = BTreeMap::new();
    for (session_id, from, to) in transitions {
        assert_eq!(reached.insert(session_id.clone(), to), from, "transitions of {session_id}");
    }
    let statuses = snapshots.iter().map(|(id, snapshot)| (id.clone(), snapshot.status.as_str().to_owned()));
    assert_eq!(reached, statuses.collect());
}

/// The checkpoints of topics that were empty before stand at the number of their records, in all.
async fn assert_checkpoints_add_up(connection: &mut PgConnection, records: u64) {
    let sum: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(next_offset), 0)::bigint FROM checkpoints WHERE NOT starts_with(group_id, 'replay:')",
    )
    .fetch_one(connection)
    .await
    .unwrap();
    assert_eq!(u64::try_from(sum).unwrap(), records, "checkpoints");
}
