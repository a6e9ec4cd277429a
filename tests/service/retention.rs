//! What is too old is deleted, and nothing else.

use std::time::Duration;

use serde_json::{Value, json};
use sessionfold::{
    event::EventKind,
    service::open_store,
    store::{Expiring, Expiry},
};
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    deployment::Deployment,
    program::{self, Instance, until},
    records::{ended, prompt, record, started, tool},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Sessions of the year 2020, ended and not, and one of this minute.
async fn old_and_new() -> Deployment {
    let deployment = Deployment::new(1).await;
    let now = chrono::Utc::now().to_rfc3339();
    let sent = [
        started("old", 1, "2020-03-01T09:00:00Z"),
        prompt("old", 2, "2020-03-01T09:00:01Z"),
        tool("old", 3, "2020-03-01T09:00:02Z", "Bash"),
        ended("old", 4, "2020-03-01T09:10:00Z"),
        started("old-and-open", 5, "2020-03-02T09:00:00Z"),
        started("resumed", 6, "2020-03-01T09:00:00Z"),
        prompt("resumed", 7, &now),
        record(EventKind::Prompt, "bad", 8, "2020-03-01T09:00:00Z", json!({})),
    ];
    deployment.send(&sent).await;
    deployment.drain().await;
    deployment
}

async fn sessions(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar("SELECT session_id FROM sessions ORDER BY 1").fetch_all(connection).await.unwrap()
}

async fn count(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

#[track_caller]
fn retention(deployment: &Deployment, arguments: &[&str]) -> Value {
    let output = program::run(deployment, &[&["retention", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_sessions_go_with_all_that_belongs_to_them() {
    let mut deployment = old_and_new().await;
    let mut connection = deployment.connect().await;
    assert_eq!(retention(&deployment, &["--yes"]), json!({}), "nothing has an age");
    deployment.set("SESSIONFOLD_RETENTION__SESSIONS", "90d");
    deployment.set("SESSIONFOLD_RETENTION__BATCH", "1");

    assert_eq!(retention(&deployment, &["--dry-run"])["sessions"]["found"], 2);
    let unasked = program::run(&deployment, &["retention"]);
    assert_eq!(unasked.status.code(), Some(2), "{}", String::from_utf8_lossy(&unasked.stderr));
    assert_eq!(sessions(&mut connection).await, ["old", "old-and-open", "resumed"]);

    assert_eq!(retention(&deployment, &["--yes"])["sessions"]["deleted"], 2);
    assert_eq!(sessions(&mut connection).await, ["resumed"]);
    let left = "SELECT (SELECT count(*) FROM prompts) + (SELECT count(*) FROM tool_executions)
        + (SELECT count(*) FROM lifecycle_events)";
    assert_eq!(count(&mut connection, left).await, 2, "those of the session that is left");
    assert_eq!(count(&mut connection, "SELECT count(DISTINCT session_id) FROM transitions").await, 1);
    assert_eq!(count(&mut connection, "SELECT count(*) FROM dead_letters").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_deleted_while_its_events_may_wait_in_a_log() {
    let mut deployment = old_and_new().await;
    deployment.set("SESSIONFOLD_RETENTION__SESSIONS", "90d");
    deployment.send(&[prompt("old", 9, "2020-03-01T09:00:03Z")]).await;
    let report = retention(&deployment, &["--yes"]);
    assert_eq!(report, json!({}), "a partition has a backlog");
    deployment.drain().await;
    assert_eq!(retention(&deployment, &["--yes"])["sessions"]["deleted"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_written_at_that_moment_stays() {
    let deployment = old_and_new().await;
    let store = open_store(&deployment.config());
    let before = chrono::Utc::now() - chrono::TimeDelta::days(90);
    let mut writer = deployment.connect().await;
    let mut writing = writer.begin().await.unwrap();
    writing.execute("UPDATE sessions SET last_event_at = now() WHERE session_id = 'old'").await.unwrap();
    let deleted = store.delete_expired(Expiring::Sessions, before, 10).await.unwrap();
    assert_eq!(deleted, Expiry::Deleted { rows: 1, more: false }, "the one that nobody writes");
    writing.commit().await.unwrap();
    let deleted = store.delete_expired(Expiring::Sessions, before, 10).await.unwrap();
    assert_eq!(deleted, Expiry::Deleted { rows: 0, more: false });
    assert_eq!(sessions(&mut deployment.connect().await).await, ["old", "resumed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_dead_letters_are_kept_unless_they_have_an_age_of_their_own() {
    let mut deployment = old_and_new().await;
    let mut connection = deployment.connect().await;
    connection
        .execute(
            "INSERT INTO dead_letters (id, topic, partition, record_offset, headers, reason, detail, status, created_at)
             SELECT gen_random_uuid(), 't', 0, n, '[]', 'schema', '', (ARRAY['open', 'redriven', 'discarded'])[n % 3 + 1],
                CASE WHEN n <= 6 THEN timestamptz '2020-01-01' ELSE now() END
             FROM generate_series(1, 9) AS n",
        )
        .await
        .unwrap();
    deployment.set("SESSIONFOLD_RETENTION__DEAD_LETTERS", "30d");
    assert_eq!(retention(&deployment, &["--yes"])["dead_letters"]["deleted"], 4);
    let open = "SELECT count(*) FROM dead_letters WHERE status = 'open' AND created_at < '2021-01-01'";
    assert_eq!(count(&mut connection, open).await, 2);
    deployment.set("SESSIONFOLD_RETENTION__OPEN_DEAD_LETTERS", "365d");
    assert_eq!(retention(&deployment, &["--yes"])["open_dead_letters"]["deleted"], 2);
    assert_eq!(count(&mut connection, "SELECT count(*) FROM dead_letters").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn transitions_go_once_they_were_published() {
    let mut deployment = old_and_new().await;
    let mut connection = deployment.connect().await;
    let published = "UPDATE transitions SET published_at = '2020-01-01' WHERE session_id = 'old'";
    let rows = connection.execute(published).await.unwrap().rows_affected();
    deployment.set("SESSIONFOLD_RETENTION__TRANSITIONS", "7d");
    assert_eq!(retention(&deployment, &["--yes"])["transitions"]["deleted"], rows);
    assert_eq!(count(&mut connection, "SELECT count(*) FROM transitions WHERE session_id = 'old'").await, 0);
    assert_eq!(count(&mut connection, "SELECT count(DISTINCT session_id) FROM transitions").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_deletes_at_a_time() {
    let deployment = old_and_new().await;
    let mut other = deployment.connect().await;
    let lock = "SELECT pg_advisory_lock(hashtextextended('sessionfold retention of sessionfold', 0))";
    sqlx::query(lock).execute(&mut other).await.unwrap();
    let store = open_store(&deployment.config());
    let deleted = store.delete_expired(Expiring::Sessions, chrono::Utc::now(), 10).await.unwrap();
    assert_eq!(deleted, Expiry::Busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_instance_deletes_what_is_old_once_it_has_read_everything() {
    let mut deployment = old_and_new().await;
    deployment.set("SESSIONFOLD_RETENTION__SESSIONS", "90d");
    deployment.set("SESSIONFOLD_RETENTION__INTERVAL", "100ms");
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "100ms");
    let mut instance = Instance::start(&deployment, &["run"]);
    let mut connection = deployment.connect().await;
    until("the old sessions are gone", PATIENCE, async || sessions(&mut connection).await == ["resumed"]).await;
    // A late event brings its session back, and it is deleted again.
    deployment.send(&[prompt("old", 9, "2020-03-01T09:00:03Z")]).await;
    let read = "SELECT sum(next_offset)::bigint FROM checkpoints";
    until("the late event is read", PATIENCE, async || count(&mut connection, read).await == 9).await;
    until("the session is gone again", PATIENCE, async || sessions(&mut connection).await == ["resumed"]).await;
    instance.stop().await;
}
