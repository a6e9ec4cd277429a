//! Time-outs: sessions that fell silent, once nothing waits in the logs.

use std::time::Duration;

use sessionfold::{
    event::EventKind,
    fold::Convergent,
    generate::{GeneratedRecord, Generator, Shape},
    record::{NextOffset, TopicPartition},
    service::open_store,
    store::{SeenLogEnds, Store, Sweep, SweepScope},
};
use sqlx::PgConnection;

use crate::{
    deployment::Deployment,
    expected::Expected,
    program::{Instance, until},
    tables::assert_tables_equal,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn good_records(records: u64) -> Vec<GeneratedRecord> {
    Generator::new(Shape { records, bad_share: 0.0, ..Shape::default() }).collect()
}

fn scope(deployment: &Deployment) -> SweepScope {
    SweepScope {
        group_id: deployment.group_id.clone(),
        topics: deployment.topics.clone(),
        caught_up_within: PATIENCE,
        max_sessions: 10,
    }
}

/// As an instance says that has read everything.
async fn mark_all_caught_up(deployment: &Deployment, store: &Store) {
    let ends = checkpoints(&mut deployment.connect().await).await;
    store.mark_caught_up(&deployment.group_id, &SeenLogEnds { age: Duration::ZERO, ends }).await.unwrap();
}

async fn checkpoints(connection: &mut PgConnection) -> Vec<(TopicPartition, NextOffset)> {
    let rows: Vec<(String, i32, i64)> =
        sqlx::query_as("SELECT topic, partition, next_offset FROM checkpoints").fetch_all(connection).await.unwrap();
    rows.into_iter().map(|(topic, number, next)| (TopicPartition::new(topic, number), NextOffset::new(next))).collect()
}

async fn count(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

const OPEN: &str = "SELECT count(*) FROM sessions WHERE status IN ('active', 'orphan')";
const TIMED_OUT: &str = "SELECT count(*) FROM sessions WHERE status = 'timed_out' AND ended_at = last_event_at
    AND end_reason = 'timeout' AND end_provenance = 'timeout'";
const TIMEOUT_TRANSITIONS: &str =
    "SELECT count(*) FROM transitions WHERE cause = 'timeout' AND to_status = 'timed_out'";

#[tokio::test(flavor = "multi_thread")]
async fn silent_sessions_are_timed_out_in_batches_and_each_is_a_transition() {
    let deployment = Deployment::new(2).await;
    deployment.send(&good_records(6_000)).await;
    deployment.drain().await;
    let store = open_store(&deployment.config());
    let mut connection = deployment.connect().await;
    let open = count(&mut connection, OPEN).await;
    assert!(open > 20, "{open} sessions without an end");

    let (aggregator, scope) = (Convergent::default(), scope(&deployment));
    assert_eq!(store.sweep(&aggregator, &scope).await.unwrap(), Sweep::HeldOff, "nobody said that all was read");
    mark_all_caught_up(&deployment, &store).await;
    let mut timed_out = 0;
    while let Sweep::TimedOut(sessions) = store.sweep(&aggregator, &scope).await.unwrap() {
        assert!(sessions <= 10);
        timed_out += sessions;
        if sessions < 10 {
            break;
        }
    }

    assert_eq!(timed_out as i64, open);
    assert_eq!(count(&mut connection, OPEN).await, 0);
    assert_eq!(count(&mut connection, TIMED_OUT).await, open);
    assert_eq!(count(&mut connection, TIMEOUT_TRANSITIONS).await, open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_speaks_again_is_reopened_by_the_fold() {
    let deployment = Deployment::new(1).await;
    let sent = good_records(3_000);
    let (before, after) = sent.split_at(1_500);
    deployment.send(before).await;
    deployment.drain().await;
    let store = open_store(&deployment.config());
    mark_all_caught_up(&deployment, &store).await;
    let limits = SweepScope { max_sessions: 100_000, ..scope(&deployment) };
    assert!(matches!(store.sweep(&Convergent::default(), &limits).await.unwrap(), Sweep::TimedOut(1..)));

    deployment.send(after).await;
    deployment.drain().await;
    // Those that stayed silent are as they were without the sweep, but for their time-out.
    let mut connection = deployment.connect().await;
    let reopened = "SELECT count(*) FROM transitions WHERE cause = 'event' AND from_status = 'timed_out'";
    assert!(count(&mut connection, reopened).await > 0);
    let still = "UPDATE sessions SET status = CASE WHEN started_at IS NULL THEN 'orphan' ELSE 'active' END,
        ended_at = NULL, end_reason = NULL, end_provenance = NULL, duration_seconds = NULL WHERE status = 'timed_out'";
    sqlx::query(still).execute(&mut connection).await.unwrap();
    sqlx::query(
        "DELETE FROM transitions t USING sessions s WHERE s.session_id = t.session_id AND t.cause = 'timeout'
        AND t.session_version = s.version",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_partition_with_a_backlog_holds_the_sweep_off() {
    let deployment = Deployment::new(2).await;
    deployment.send(&good_records(2_000)).await;
    deployment.drain().await;
    let store = open_store(&deployment.config());
    let mut ends = checkpoints(&mut deployment.connect().await).await;
    let (_, end) = ends.last_mut().unwrap();
    *end = NextOffset::new(end.get() + 1);
    let seen = SeenLogEnds { age: Duration::ZERO, ends };
    store.mark_caught_up(&deployment.group_id, &seen).await.unwrap();
    assert_eq!(store.sweep(&Convergent::default(), &scope(&deployment)).await.unwrap(), Sweep::HeldOff);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_sweeps_at_a_time() {
    let deployment = Deployment::new(1).await;
    let store = open_store(&deployment.config());
    let mut other = deployment.connect().await;
    let lock = "SELECT pg_advisory_lock(hashtextextended('sessionfold sweep of sessionfold', 0))";
    sqlx::query(lock).execute(&mut other).await.unwrap();
    assert_eq!(store.sweep(&Convergent::default(), &scope(&deployment)).await.unwrap(), Sweep::Busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_instance_sweeps_once_it_has_read_everything() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "200ms");
    deployment.send(&good_records(3_000)).await;
    let mut instance = Instance::start(&deployment, &["run"]);
    let mut connection = deployment.connect().await;
    let all_ended = "SELECT count(*) FROM sessions WHERE status IN ('ended', 'timed_out')
        HAVING (SELECT sum(next_offset) FROM checkpoints) = 3000 AND count(*) = (SELECT count(*) FROM sessions)";
    until("every session has ended", PATIENCE, async || {
        sqlx::query_scalar::<_, i64>(all_ended).fetch_optional(&mut connection).await.unwrap().is_some()
    })
    .await;
    // A late event opens its session again, until the next sweep.
    let late = good_records(3_000).into_iter().find(|record| record.kind == EventKind::Prompt).unwrap();
    deployment.send([&late]).await;
    until("the late event is read", PATIENCE, async || {
        count(&mut connection, "SELECT sum(next_offset)::bigint FROM checkpoints").await == 3_001
    })
    .await;
    instance.terminate();
    assert!(instance.wait(PATIENCE).await.success());
}
