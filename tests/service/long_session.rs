//! An event costs the same in a session of a million as in one of ten.

use sessionfold::{event::EventKind, generate::GeneratedRecord};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{deployment::Deployment, expected::Expected, tables::assert_tables_equal};

const EXECUTIONS: u64 = 200_000;
const PART: u64 = 10_000;

fn executions(numbers: std::ops::Range<u64>) -> Vec<GeneratedRecord> {
    numbers.map(execution).collect()
}

fn execution(number: u64) -> GeneratedRecord {
    let start = 1_772_355_600_000_i64;
    let millis = start + i64::try_from(number).unwrap() * 10;
    let emitted_at = chrono::DateTime::from_timestamp_millis(millis).unwrap().to_rfc3339();
    let id = Uuid::from_u128(u128::from(number));
    let tool_name = if number.is_multiple_of(3) { "Bash" } else { "Read" };
    let value = serde_json::json!({"event_type": "hook.tool.executed", "payload": {
        "entity_id": id, "session_id": "the long one", "correlation_id": id, "causation_id": id,
        "emitted_at": emitted_at, "tool_execution_id": id, "tool_name": tool_name,
    }});
    GeneratedRecord {
        kind: EventKind::Tool,
        key: b"the long one".to_vec(),
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

/// Sends and drains one part of the session; returns the rows that Postgres touched for it, and the time.
async fn cost(deployment: &Deployment, part: std::ops::Range<u64>) -> (i64, std::time::Duration) {
    let mut connection = deployment.connect().await;
    let before = rows_touched(&mut connection).await;
    deployment.send(&executions(part.clone())).await;
    let service = sessionfold::service::Service::start(
        &deployment.config(),
        sessionfold::service::open_store(&deployment.config()),
        deployment.aggregators(),
        sessionfold::stream::Until::Drained,
    )
    .unwrap();
    let monitor = service.monitor();
    let totals = service.run().await.unwrap();
    assert_eq!(totals.applied, part.end - part.start);
    // Backends report what they did when they end, which closing their connections makes them do.
    let reported = async || {
        sqlx::query("SELECT pg_stat_clear_snapshot()").execute(&mut connection).await.unwrap();
        let inserted: i64 =
            sqlx::query_scalar("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'tool_executions'")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        inserted.unsigned_abs() >= part.end
    };
    crate::program::until("statistics are reported", std::time::Duration::from_secs(30), reported).await;
    (rows_touched(&mut connection).await - before, monitor.working_time())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_executions_of_a_long_session_cost_no_more_than_the_first() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "10000");
    let (first, first_time) = cost(&deployment, 0..PART).await;
    cost(&deployment, PART..EXECUTIONS - PART).await;
    let (last, last_time) = cost(&deployment, EXECUTIONS - PART..EXECUTIONS).await;
    println!("rows touched: first {first}, last {last}; time: first {first_time:?}, last {last_time:?}");

    // A batch reads and writes the session's one row, and looks up its own events, none of which is stored.
    assert!(last <= first + 10, "the first {PART} executions touched {first} rows, the last {last}");
    assert_tables_equal(&deployment, &Expected::of(&executions(0..EXECUTIONS))).await;
}
