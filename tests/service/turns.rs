//! In which order a backlog of several topics is read.

use std::time::Duration;

use sessionfold::generate::GeneratedRecord;

use crate::{
    deployment::Deployment,
    records::{prompt, tool},
};

const RECORDS: i64 = 10_000;
const NOON: &str = "2026-03-01T12:00:00Z";

/// One record each of so many sessions, the first one made at `first_at`.
fn records_from(first_at: i64, record_of: impl Fn(&str) -> GeneratedRecord, name: &str) -> Vec<GeneratedRecord> {
    let record =
        |number: i64| GeneratedRecord { timestamp_millis: first_at + number, ..record_of(&format!("{name}-{number}")) };
    (0..RECORDS).map(record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_topics_with_a_backlog_the_one_with_the_older_records_is_read_first() {
    let mut deployment = Deployment::new(1).await;
    // A fetch brings no more than a small part of a topic.
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__COMPRESSION_TYPE", "none");
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__BATCH_NUM_MESSAGES", "100");
    // Old enough for a backlog, and later than what the events say of themselves.
    let older = records_from(1_775_000_000_000, |session| tool(session, 1, NOON, "Read"), "older");
    let newer = records_from(1_777_600_000_000, |session| prompt(session, 1, NOON), "newer");
    deployment.send(newer.iter().chain(&older)).await;

    let totals = deployment.drain().await;

    assert_eq!(totals.applied, 2 * RECORDS.unsigned_abs());
    let before_the_last_older_one: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sessions WHERE session_id LIKE 'newer-%'
         AND created_at < (SELECT max(created_at) FROM sessions WHERE session_id LIKE 'older-%')",
    )
    .fetch_one(&mut deployment.connect().await)
    .await
    .unwrap();
    // What one fetch brought before the other came, and the share that the later one has in any case.
    assert!(before_the_last_older_one < RECORDS / 2, "{before_the_last_older_one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_at_the_end_of_its_logs_waits_for_no_company() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_WAIT", "1m");
    let sent: Vec<_> = (0..50).map(|number| tool(&format!("s-{number}"), 1, NOON, "Read")).collect();
    deployment.send(&sent).await;

    let drained = tokio::time::timeout(Duration::from_secs(40), deployment.drain()).await;

    assert_eq!(drained.expect("the last batch waits no minute").applied, 50);
}
