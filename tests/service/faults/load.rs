//! Backlogs, long sessions and many sessions: memory and cost stay flat.

use std::{ops::Range, time::Duration};

use sessionfold::{event::EventKind, generate::GeneratedRecord};
use sqlx::{Executor, PgConnection};
use uuid::Uuid;

use crate::{
    crashes::committed_records,
    deployment::Deployment,
    expected::Expected,
    guarantees::records,
    program::{Instance, until},
    tables::assert_tables_equal,
};

const PATIENCE: Duration = Duration::from_secs(600);

/// Events whose cost is compared: the first and the last of so many.
const PART: u64 = 10_000;

/// An execution of a session that `session_of` names by the execution's number.
fn execution(number: u64, session_of: fn(u64) -> String) -> GeneratedRecord {
    let start = 1_772_355_600_000_i64;
    let millis = start + i64::try_from(number).unwrap() * 10;
    let emitted_at = chrono::DateTime::from_timestamp_millis(millis).unwrap().to_rfc3339();
    let id = Uuid::from_u128(u128::from(number));
    let (tool_name, session) = (if number.is_multiple_of(3) { "Bash" } else { "Read" }, session_of(number));
    let value = serde_json::json!({"event_type": "hook.tool.executed", "payload": {
        "entity_id": id, "session_id": session, "correlation_id": id, "causation_id": id,
        "emitted_at": emitted_at, "tool_execution_id": id, "tool_name": tool_name,
    }});
    GeneratedRecord {
        kind: EventKind::Tool,
        key: session.into_bytes(),
        value: Some(value.to_string().into_bytes()),
        headers: Vec::new(),
        timestamp_millis: millis,
        intended: None,
    }
}

/// Rows that Postgres touched in the tables of events, by whatever way.
async fn rows_touched(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0) + n_tup_upd)::bigint FROM pg_stat_user_tables
         WHERE relname IN ('sessions', 'prompts', 'tool_executions', 'lifecycle_events')",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// Sends and drains one part; returns the rows that Postgres touched for it, and the time.
async fn cost(deployment: &Deployment, part: Range<u64>, session_of: fn(u64) -> String) -> (i64, Duration) {
    let mut connection = deployment.connect().await;
    let before = rows_touched(&mut connection).await;
    deployment.send(&part.clone().map(|number| execution(number, session_of)).collect::<Vec<_>>()).await;
    let service = deployment.begin_to_drain();
    let monitor = service.monitor();
    let totals = service.run().await.unwrap();
    assert_eq!(totals.applied, part.end - part.start);
    // Backends report what they did when they end, which closing their connections makes them do.
    let reported = async || {
        connection.execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
        let inserted: i64 =
            sqlx::query_scalar("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'tool_executions'")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        inserted.unsigned_abs() >= part.end
    };
    until("statistics are reported", Duration::from_secs(30), reported).await;
    (rows_touched(&mut connection).await - before, monitor.working_time())
}

/// The last of these executions touch no more rows than the first.
async fn assert_cost_is_flat(executions: u64, session_of: fn(u64) -> String) {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", &PART.to_string());
    let (first, first_time) = cost(&deployment, 0..PART, session_of).await;
    cost(&deployment, PART..executions - PART, session_of).await;
    let (last, last_time) = cost(&deployment, executions - PART..executions, session_of).await;
    println!(
        "of {executions} executions the first {PART} touched {first} rows in {first_time:?}, the last {last} in {last_time:?}"
    );
    assert!(last <= first + 10, "the first {PART} executions touched {first} rows, the last {last}");
    let sent: Vec<_> = (0..executions).map(|number| execution(number, session_of)).collect();
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

fn one_session(_: u64) -> String {
    "the long one".to_owned()
}

fn session_of_its_own(number: u64) -> String {
    format!("session-{number}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_executions_of_a_long_session_cost_no_more_than_the_first() {
    assert_cost_is_flat(100_000, one_session).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn an_execution_costs_the_same_in_a_session_of_half_a_million() {
    assert_cost_is_flat(500_000, one_session).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn a_hundred_thousand_sessions_with_one_event_each_cost_the_same_from_first_to_last() {
    assert_cost_is_flat(100_000, session_of_its_own).await;
}

/// What a member of the group may hold in memory, in MB: the program, two batches a lane, the sessions that were
/// committed last, and what librdkafka fetched ahead.
const MOST_MEMORY: u64 = 200;

/// The resident memory of an instance while it works.
#[derive(Debug, Default)]
struct Memory {
    samples: Vec<u64>,
}

impl Memory {
    fn sample(&mut self, instance: &Instance) {
        self.samples.extend(instance.resident_mb());
    }

    fn most(&self) -> u64 {
        self.samples.iter().copied().max().unwrap_or_default()
    }

    /// The medians of the second and of the last quarter: what comes before is a start.
    fn early_and_late(&self) -> (u64, u64) {
        let quarter = self.samples.len() / 4;
        let median = |samples: &[u64]| {
            let mut sorted = samples.to_vec();
            sorted.sort_unstable();
            sorted[sorted.len() / 2]
        };
        (median(&self.samples[quarter..2 * quarter]), median(&self.samples[3 * quarter..]))
    }

    fn assert_small(&self, what: &str) {
        let most = self.most();
        println!("{what}: {most} MB of memory at most");
        assert!(most < MOST_MEMORY, "{what}: {most} MB");
    }

    fn assert_flat(&self, what: &str) {
        self.assert_small(what);
        let (early, late) = self.early_and_late();
        println!("{what}: median {early} MB in the second quarter, {late} MB in the last");
        assert!(late <= early + early / 4, "{what}: memory grew from {early} to {late} MB");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn a_backlog_of_a_million_events_takes_no_more_memory_than_a_small_one() {
    let mut deployment = Deployment::new(6).await;
    deployment.settings.retain(|(name, _)| name != "SESSIONFOLD_BATCH__MAX_EVENTS");
    let sent = records(1_000_000, 41);
    deployment.send(&sent).await;
    let expected = Expected::of(&sent);
    drop(sent);
    deployment.set("SESSIONFOLD_LOG__FILTER", "warn");
    let mut connection = deployment.connect().await;
    let mut memory = Memory::default();
    let mut instance = Instance::start(&deployment, &["run", "--drain"]);
    until("everything is committed", PATIENCE, async || {
        let committed = committed_records(&mut connection).await;
        // Before, it waits for the group, for nearly as long as it then reads.
        if committed > 0 {
            memory.sample(&instance);
        }
        committed == expected.records
    })
    .await;
    assert!(instance.wait(PATIENCE).await.success());
    memory.assert_flat("a backlog of 1,000,000");
    assert_tables_equal(&deployment, &expected).await;
}

/// For a minute, each statement on sessions takes 5 s longer than it would: a batch of the largest kind, of which two lanes
/// write one each, has two such statements, so that 10,000 records a second are the most, and 15,000 come.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn a_producer_faster_than_the_database_for_a_minute_fills_the_log_and_not_the_memory() {
    let mut deployment = Deployment::new(6).await;
    deployment.settings.retain(|(name, _)| name != "SESSIONFOLD_BATCH__MAX_EVENTS");
    // The records are of March: a sweep that finds everything read would rightly time out the sessions without an end.
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "1h");
    let mut connection = deployment.connect().await;
    connection
        .execute(
            "CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(5); RETURN NULL; END';
             CREATE TRIGGER slow AFTER INSERT OR UPDATE ON sessions FOR EACH STATEMENT EXECUTE FUNCTION be_slow()",
        )
        .await
        .unwrap();
    let sent = records(900_000, 41);
    let mut instance = Instance::start(&deployment, &["run"]);
    let mut slowed = Memory::default();
    for (second, records) in sent.chunks(sent.len() / 60).enumerate() {
        let rhythm = tokio::time::sleep(Duration::from_secs(1));
        deployment.send(records).await;
        // Before, the pipeline isn't full.
        if second >= 20 {
            slowed.sample(&instance);
        }
        rhythm.await;
    }
    let committed = committed_records(&mut connection).await;
    assert!(committed < sent.len() as u64 * 9 / 10, "the database kept up: {committed} records");
    connection.execute("DROP TRIGGER slow ON sessions").await.unwrap();
    let mut catching_up = Memory::default();
    until("everything is committed", PATIENCE, async || {
        catching_up.sample(&instance);
        committed_records(&mut connection).await == sent.len() as u64
    })
    .await;
    instance.terminate();
    assert!(instance.wait(PATIENCE).await.success());
    slowed.assert_flat(&format!("900,000 records in a minute, of which {committed} were committed in it"));
    catching_up.assert_small("catching up");
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}
