//! The process may be killed at any instant.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    convergence::sent_three_times,
    deployment::Deployment,
    expected::Expected,
    program::{Instance, until},
    tables::assert_tables_equal,
};

const PATIENCE: Duration = Duration::from_secs(120);

pub async fn committed_records(connection: &mut PgConnection) -> u64 {
    let sum: i64 = sqlx::query_scalar("SELECT coalesce(sum(next_offset), 0)::bigint FROM checkpoints")
        .fetch_one(connection)
        .await
        .unwrap();
    sum.unsigned_abs()
}

/// Waits until that many records are committed.
pub async fn until_committed(connection: &mut PgConnection, records: usize) {
    let enough = async || committed_records(connection).await >= records as u64;
    until("enough records are committed", PATIENCE, enough).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_kills_at_random_moments_lose_nothing_and_count_nothing_twice() {
    let mut deployment = Deployment::new(3).await;
    // The same member comes back, so that the group needn't wait for the killed one to time out.
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__GROUP_INSTANCE_ID", "killed-and-back");
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "500");
    let sent = sent_three_times(50_000, 12);
    deployment.send(&sent).await;
    let expected = Expected::of(&sent);

    let mut connection = deployment.connect().await;
    let mut random = fastrand::Rng::with_seed(12);
    for kill in 1..=5 {
        let mut instance = Instance::start(&deployment, &["run"]);
        // Somewhere in this sixth of the log; and then at any station of a batch.
        let threshold = expected.records * (kill - 1) / 6 + random.u64(1..expected.records / 6);
        let reached = async || committed_records(&mut connection).await >= threshold;
        until("enough records are committed to kill the process", PATIENCE, reached).await;
        tokio::time::sleep(Duration::from_micros(random.u64(0..50_000))).await;
        instance.kill();
    }
    assert!(committed_records(&mut connection).await < expected.records, "the kills came too late to mean anything");

    let mut instance = Instance::start(&deployment, &["run", "--drain"]);
    assert!(instance.wait(PATIENCE).await.success());
    assert_tables_equal(&deployment, &expected).await;
}
