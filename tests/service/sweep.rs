//! Time-outs: sessions that fell silent, once nothing waits in the logs.

use std::time::Duration;

use sessionfold::{
    fold::Convergent,
    generate::{GeneratedRecord, Generator, Shape},
    record::{NextOffset, TopicPartition},
    service::open_store,
    store::{AdoptedOffset, CheckpointMove, Publication, SeenLogEnds, Store, Sweep, SweepInstant, SweepScope},
};
use sqlx::PgConnection;

use crate::{
    deployment::Deployment,
    expected::Expected,
    program::{Instance, until},
    records::{ended, prompt, started},
    tables::assert_tables_equal,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn good_records(records: u64) -> Vec<GeneratedRecord> {
    Generator::new(Shape { records, bad_share: 0.0, ..Shape::default() }).collect()
}

fn scope(deployment: &Deployment) -> SweepScope {
    scope_of_topics(deployment, deployment.topics.clone())
}

fn scope_of_topics(deployment: &Deployment, topics: Vec<String>) -> SweepScope {
    SweepScope {
        instant: SweepInstant::CaughtUp { group_id: deployment.group_id.clone(), topics, within: PATIENCE },
        max_sessions: 10,
        publication: Publication::Published,
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
    let mut sum = 0;
    while let Sweep::Swept { timed_out, more } = store.sweep(&aggregator, &scope).await.unwrap() {
        assert!(timed_out <= 10);
        sum += timed_out;
        if !more {
            break;
        }
    }

    assert_eq!(sum as i64, open);
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
    assert!(matches!(
        store.sweep(&Convergent::default(), &limits).await.unwrap(),
        Sweep::Swept { timed_out: 1.., more: false }
    ));

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
    let session: String = sqlx::query_scalar("SELECT min(session_id) FROM sessions WHERE status = 'timed_out'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    deployment.send([&prompt(&session, 1, "2026-03-01T09:00:00Z")]).await;
    let causes = "SELECT string_agg(cause || ' ' || to_status, ', ' ORDER BY session_version) FROM transitions
        WHERE session_id = $1 AND from_status IS NOT NULL";
    until("the session was opened and timed out again", PATIENCE, async || {
        let causes: String = sqlx::query_scalar(causes).bind(&session).fetch_one(&mut connection).await.unwrap();
        let again = |status| format!("timeout timed_out, event {status}, timeout timed_out");
        causes.ends_with(&again("active")) || causes.ends_with(&again("orphan"))
    })
    .await;
    instance.terminate();
    assert!(instance.wait(PATIENCE).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_nobody_has_begun_to_read_holds_the_sweep_off() {
    let deployment = Deployment::new(1).await;
    deployment.send(&good_records(1_000)).await;
    deployment.drain().await;
    let store = open_store(&deployment.config());
    mark_all_caught_up(&deployment, &store).await;
    let topics = deployment.topics.iter().cloned().chain(["added".to_owned()]);
    let scope = scope_of_topics(&deployment, topics.collect());
    assert_eq!(store.sweep(&Convergent::default(), &scope).await.unwrap(), Sweep::HeldOff);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_was_moved_back_holds_the_sweep_off() {
    let deployment = Deployment::new(1).await;
    deployment.send(&good_records(1_000)).await;
    deployment.drain().await;
    let store = open_store(&deployment.config());
    mark_all_caught_up(&deployment, &store).await;
    let (partition, end) = checkpoints(&mut deployment.connect().await).await.remove(0);
    let step = CheckpointMove { partition, expected: end, next: NextOffset::new(0) };
    let back = AdoptedOffset { step, log_start: NextOffset::new(0), log_end: end };
    store.adopt_offset(&deployment.group_id, &back).await.unwrap();
    assert_eq!(store.sweep(&Convergent::default(), &scope(&deployment)).await.unwrap(), Sweep::HeldOff);
}

/// Such sessions would be found first in every sweep, and nothing else ever.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_a_changed_setting_ends_do_not_hold_up_the_sweep() {
    let deployment = Deployment::new(1).await;
    let sent = [
        started("went-on", 1, "2026-03-01T09:00:00Z"),
        ended("went-on", 2, "2026-03-01T09:10:00Z"),
        prompt("went-on", 3, "2026-03-01T09:15:00Z"),
        started("silent", 4, "2026-03-01T12:00:00Z"),
    ];
    deployment.send(&sent).await;
    deployment.drain().await;
    let store = open_store(&deployment.config());
    mark_all_caught_up(&deployment, &store).await;

    let longer = Convergent { reopen_grace: Duration::from_secs(600), ..Convergent::default() };
    let one = SweepScope { max_sessions: 1, ..scope(&deployment) };
    let first = store.sweep(&longer, &one).await.unwrap();
    assert_eq!(first, Sweep::Swept { timed_out: 0, more: true });
    let second = store.sweep(&longer, &one).await.unwrap();
    assert_eq!(second, Sweep::Swept { timed_out: 1, more: true });
    assert_eq!(store.sweep(&longer, &one).await.unwrap(), Sweep::Swept { timed_out: 0, more: false });

    let rows = "SELECT session_id, status, (SELECT cause FROM transitions t WHERE t.session_id = s.session_id
        AND t.session_version = s.version) FROM sessions s ORDER BY 1";
    let rows: Vec<(String, String, String)> =
        sqlx::query_as(rows).fetch_all(&mut deployment.connect().await).await.unwrap();
    let row = |session: &str, status: &str, cause: &str| (session.to_owned(), status.to_owned(), cause.to_owned());
    assert_eq!(rows, [row("silent", "timed_out", "timeout"), row("went-on", "ended", "repair")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_always_a_moment_behind_does_not_hold_the_sweep_off() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "2s");
    deployment.set("SESSIONFOLD_BATCH__MAX_WAIT", "3s");
    deployment.send([&started("silent", 1, "2026-03-01T09:00:00Z")]).await;
    let _instance = Instance::start(&deployment, &["run"]);
    let mut connection = deployment.connect().await;
    let timed_out = async {
        until("the silent session is timed out", PATIENCE, async || count(&mut connection, TIMED_OUT).await == 1).await;
    };
    let steady_flow = async {
        loop {
            deployment.send([&started("silent", 1, "2026-03-01T09:00:00Z")]).await;
            tokio::time::sleep(Duration::from_millis(100)).await; // the rhythm of the flow
        }
    };
    tokio::select! {
        () = timed_out => {}
        () = steady_flow => {}
    }
}
