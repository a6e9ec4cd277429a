//! The store's promises, each by itself.

use std::time::Duration;

use sessionfold::{
    event::EventKind,
    generate::{GeneratedRecord, Generator, Shape},
    record::TopicPartition,
    service::open_store,
    store::Failure,
};
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    crashes::committed_records,
    deployment::{Deployment, MAX_VALUE_BYTES},
    expected::Expected,
    program::{self, Instance, until},
    tables::{assert_tables_equal, rows},
};

fn good_records(records: u64) -> Vec<GeneratedRecord> {
    Generator::new(Shape { records, bad_share: 0.0, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_fits_the_tables() {
    let deployment = Deployment::new(1).await;
    assert!(open_store(&deployment.config()).check_statements().await.unwrap() > 20);
}

/// The plans of a batch's statements are kept, and so must fit tables of any size.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_looks_everything_up_in_an_index_also_with_the_plans_that_it_keeps() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "100");
    let shape = Shape { records: 3_000, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() };
    let sent: Vec<GeneratedRecord> = Generator::new(shape).collect();
    deployment.send(&sent).await;
    let mut connection = deployment.connect().await;
    let mut whole_tables = async || {
        let scans = "SELECT sum(seq_scan)::bigint FROM pg_stat_user_tables
            WHERE schemaname = current_schema() AND relname IN ('sessions', 'prompts', 'tool_executions',
                'lifecycle_events', 'transitions', 'dead_letters', 'deleted_sessions')";
        sqlx::query_scalar::<_, i64>(scans).fetch_one(&mut connection).await.unwrap()
    };
    let before = whole_tables().await;
    let output = program::run(&deployment, &["run", "--drain"]);
    assert!(output.status.success(), "{output:?}");
    // A connection's counts are in once it is closed. Whether there is any session at all is asked once, at the start.
    until("the counts are in", Duration::from_secs(10), async || whole_tables().await > before).await;
    // An index that is read from end to end gives many entries at a time; a lookup gives a row's versions.
    let mut reader = deployment.connect().await;
    let mut lookups = async |index: &str| {
        let lookups = "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes
            WHERE schemaname = current_schema() AND indexrelname = $1";
        sqlx::query_as::<_, (i64, i64)>(lookups).bind(index).fetch_one(&mut reader).await.unwrap()
    };
    until("the lookups are counted", Duration::from_secs(10), async || lookups("sessions_pkey").await.0 > 300).await;
    for index in ["sessions_pkey", "dead_letters_by_record", "deleted_sessions_pkey"] {
        let (scans, entries) = lookups(index).await;
        assert!(scans > 0 && entries <= 3 * scans, "{index}: {entries} entries in {scans} lookups");
    }
    assert_eq!(whole_tables().await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_applied_once_however_many_instances_start() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_POSTGRES__SCHEMA", "another");
    let config = deployment.config();
    let stores = [open_store(&config), open_store(&config), open_store(&config)];
    let [a, b, c] = &stores;
    let applied = tokio::try_join!(a.migrate(), b.migrate(), c.migrate()).unwrap();
    assert!(applied.0.applied > 0);
    assert_eq!(a.migrate().await.unwrap().applied, 0);
}

/// Postgres has connections to give: it isn't away because ours are all in use.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_our_own_that_are_all_in_use_are_no_failure_of_postgres() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_POSTGRES__MAX_CONNECTIONS", "1");
    deployment.set("SESSIONFOLD_POSTGRES__CONNECT_TIMEOUT", "200ms");
    deployment.set("SESSIONFOLD_BREAKER__FAILURE_THRESHOLD", "1");
    deployment.set("SESSIONFOLD_BREAKER__HALF_OPEN_SUCCESSES", "1");
    let (store, mut blocker) = (open_store(&deployment.config()), deployment.connect().await);
    let mut lock = blocker.begin().await.unwrap();
    lock.execute("LOCK TABLE checkpoints").await.unwrap();
    let partitions = [TopicPartition::new("t", 0)];
    let waits = store.checkpoints("g", &partitions);
    let refused = async {
        let error = loop {
            // The other one may not have its connection yet.
            match store.adopted_offsets("g", 1).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        lock.rollback().await.unwrap();
        error
    };
    let (waited, error) = tokio::join!(waits, refused);
    waited.unwrap();
    assert_eq!(error.to_string(), "all 1 connections of postgres.max_connections are in use");
    assert_eq!(error.failure, Failure::Unavailable);
    assert_eq!(store.breaker().openings, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_sessions_deletes_what_belongs_to_them_and_nothing_else() {
    let deployment = Deployment::new(1).await;
    deployment.send(&good_records(3_000)).await;
    deployment.drain().await;
    let mut connection = deployment.connect().await;
    // By its full name, without the search path.
    connection.execute("RESET search_path").await.unwrap();
    connection.execute("DELETE FROM sessionfold.sessions WHERE session_id < '8'").await.unwrap();
    for table in ["prompts", "tool_executions", "lifecycle_events", "transitions"] {
        let query = format!("SELECT count(*) FILTER (WHERE session_id < '8'), count(*) FROM sessionfold.{table}");
        let (deleted, left): (i64, i64) =
            sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap();
        assert_eq!(deleted, 0, "{table}");
        assert!(left > 0, "{table}");
    }
}

/// Keeps the beginning of each statement that adds to a table or changes it, by a trigger a statement.
async fn watch_statements(connection: &mut PgConnection) {
    connection
        .execute(
            "CREATE TABLE statements (statement text);
             CREATE FUNCTION keep_statement() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN INSERT INTO sessionfold.statements VALUES (left(current_query(), 30)); RETURN NULL; END';
             CREATE TRIGGER t1 AFTER INSERT OR UPDATE ON sessions EXECUTE FUNCTION keep_statement();
             CREATE TRIGGER t2 AFTER INSERT OR UPDATE ON prompts EXECUTE FUNCTION keep_statement();
             CREATE TRIGGER t3 AFTER INSERT OR UPDATE ON tool_executions EXECUTE FUNCTION keep_statement();
             CREATE TRIGGER t4 AFTER INSERT OR UPDATE ON lifecycle_events EXECUTE FUNCTION keep_statement();
             CREATE TRIGGER t5 AFTER INSERT OR UPDATE ON transitions EXECUTE FUNCTION keep_statement();",
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_the_same_number_of_statements_whatever_its_size() {
    let mut counts = Vec::new();
    for records in [200, 4_000] {
        let mut deployment = Deployment::new(1).await;
        deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "100000");
        deployment.set("SESSIONFOLD_BATCH__MAX_WAIT", "10s");
        deployment.send(&good_records(records)).await;
        let mut connection = deployment.connect().await;
        watch_statements(&mut connection).await;
        let totals = deployment.drain().await;
        assert_eq!(totals.batches, 1);
        let statements: i64 =
            sqlx::query_scalar("SELECT count(*) FROM statements").fetch_one(&mut connection).await.unwrap();
        counts.push(statements);
    }
    assert_eq!(counts[0], counts[1]);
}

/// How many of them have this name.
async fn statements_named(connection: &mut PgConnection, name: &str) -> i64 {
    let count = "SELECT count(*) FROM statements WHERE starts_with(statement, $1)";
    sqlx::query_scalar(count).bind(format!("/* {name} */")).fetch_one(connection).await.unwrap()
}

/// Many are copied, few inserted, and a session's row is updated by every batch after its first.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_the_same_whether_they_are_copied_inserted_or_updated() {
    let sent = good_records(12_000);
    let mut rows_of = Vec::new();
    for (max_events, copied) in [("100000", true), ("20", false)] {
        let mut deployment = Deployment::new(1).await;
        let mut connection = deployment.connect().await;
        watch_statements(&mut connection).await;
        deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", max_events);
        deployment.set("SESSIONFOLD_BATCH__MAX_WAIT", "10s");
        deployment.send(&sent).await;
        deployment.drain().await;
        assert_tables_equal(&deployment, &Expected::of(&sent)).await;
        let sessions =
            "SELECT to_jsonb(s) - '{created_at,updated_at,version}'::text[] FROM sessions s ORDER BY session_id";
        rows_of.push(rows(&mut connection, sessions).await);
        assert_eq!(statements_named(&mut connection, "copy_sessions").await, i64::from(copied));
        assert_eq!(statements_named(&mut connection, "insert_sessions").await > 0, !copied);
    }
    for (copied, updated) in rows_of[0].iter().zip(&rows_of[1]) {
        assert_eq!(copied, updated);
    }
    assert_eq!(rows_of[0].len(), rows_of[1].len());
}

/// In one batch each session has one transition, of the session as it stands.
#[tokio::test(flavor = "multi_thread")]
async fn transitions_tell_of_their_sessions_whether_they_are_copied_or_inserted() {
    for (records, copied) in [(500, false), (16_000, true)] {
        let mut deployment = Deployment::new(1).await;
        deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "100000");
        deployment.set("SESSIONFOLD_BATCH__MAX_WAIT", "10s");
        deployment.send(&good_records(records)).await;
        let mut connection = deployment.connect().await;
        watch_statements(&mut connection).await;
        let totals = deployment.drain().await;
        assert_eq!(totals.batches, 1);
        assert_eq!(statements_named(&mut connection, "copy_transitions").await, i64::from(copied));
        assert_eq!(statements_named(&mut connection, "insert_transitions").await, i64::from(!copied));
        let transitions = "SELECT to_jsonb(t) - '{id,occurred_at}'::text[] FROM transitions t ORDER BY session_id";
        let expected = "SELECT jsonb_build_object('session_id', s.session_id, 'session_version', s.version,
                'from_status', NULL, 'to_status', s.status, 'cause', 'event', 'withheld', false, 'published_at', NULL,
                'attempts', 0, 'last_error', NULL, 'carried_over', 0, 'next_attempt_at', NULL, 'set_aside_at', NULL,
                'payload', t.payload || jsonb_build_object('session_id', s.session_id, 'session_version', s.version,
                    'from_status', NULL, 'to_status', s.status, 'cause', 'event', 'event_count', s.event_count,
                    'end_reason', s.end_reason, 'duration_seconds', s.duration_seconds,
                    'correlation_id', s.correlation_id))
            FROM sessions s LEFT JOIN transitions t USING (session_id) ORDER BY session_id";
        let (transitions, expected) = (rows(&mut connection, transitions).await, rows(&mut connection, expected).await);
        assert_eq!(transitions.len(), expected.len());
        for (transition, expected) in transitions.iter().zip(&expected) {
            assert_eq!(transition, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_deleted_meanwhile_is_folded_from_nothing_again() {
    let deployment = Deployment::new(1).await;
    let sent = good_records(2_000);
    let (first, second) = sent.split_at(1_000);
    deployment.send(first).await;
    deployment.drain().await;
    let mut connection = deployment.connect().await;
    connection.execute("DELETE FROM sessions").await.unwrap();
    connection.execute("DELETE FROM transitions").await.unwrap();
    deployment.send(second).await;
    deployment.drain().await;
    let mut expected = Expected::of(second);
    expected.records = sent.len() as u64;
    assert_tables_equal(&deployment, &expected).await;
}

/// Sends the first half to a running instance, lets somebody meddle, sends the second half; returns the instance, ended.
async fn meddle_under_a_running_instance(deployment: &mut Deployment, meddling: &'static str) -> Instance {
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "1h");
    let sent = good_records(2_000);
    let (first, second) = sent.split_at(1_000);
    let mut connection = deployment.connect().await;
    let mut instance = Instance::start(deployment, &["run"]);
    for (part, committed) in [(first, first.len()), (second, sent.len())] {
        deployment.send(part).await;
        let all = async || committed_records(&mut connection).await == committed as u64;
        until("all is committed", Duration::from_secs(60), all).await;
        if committed < sent.len() {
            connection.execute(meddling).await.unwrap();
        }
    }
    instance.stop().await;
    instance
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_deleted_under_a_running_instance_is_folded_from_nothing_again() {
    let mut deployment = Deployment::new(1).await;
    meddle_under_a_running_instance(&mut deployment, "DELETE FROM sessions").await;
    let sent = good_records(2_000);
    let mut expected = Expected::of(&sent[1_000..]);
    expected.records = sent.len() as u64;
    assert_tables_equal(&deployment, &expected).await;
}

/// As when a session was deleted, and made again by somebody else up to the version that an instance remembers.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_other_events_in_the_same_version_is_a_conflict() {
    let mut deployment = Deployment::new(1).await;
    let other_events = "UPDATE sessions SET event_digest = decode(md5(session_id), 'hex')";
    let instance = meddle_under_a_running_instance(&mut deployment, other_events).await;
    assert!(instance.said("progress") > 0 && instance.said(" conflicts=0 ") == 0, "{}", instance.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_keep_key_headers_and_timestamp_byte_for_byte() {
    let deployment = Deployment::new(1).await;
    let record = GeneratedRecord {
        kind: EventKind::Tool,
        key: b"\x00\xffkey".to_vec(),
        value: None,
        headers: vec![
            ("event_type".to_owned(), Some(b"hook.tool.executed".to_vec())),
            ("bytes".to_owned(), Some(vec![0, 255])),
            ("null".to_owned(), None),
        ],
        timestamp_millis: 1_772_355_600_123,
        intended: None,
    };
    deployment.send([&record]).await;
    deployment.drain().await;
    let mut connection = deployment.connect().await;
    let (key, value, headers, millis, reason): (Vec<u8>, Option<Vec<u8>>, serde_json::Value, i64, String) = sqlx::query_as(
        "SELECT key, value, headers, (extract(epoch FROM record_timestamp) * 1000)::bigint, reason FROM dead_letters",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!((key, value, millis, reason.as_str()), (record.key, None, record.timestamp_millis, "invalid_json"));
    assert_eq!(
        headers,
        serde_json::json!([
            {"key": "event_type", "value": "hook.tool.executed"},
            {"key": "bytes", "value_base64": "AP8="},
            {"key": "null", "value": null},
        ])
    );
}
