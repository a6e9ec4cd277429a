//! The tables are the fold of what was sent, in whatever order and however often it came.

use sessionfold::{
    event::{EventKind, Reason},
    generate::{GeneratedRecord, Generator, Shape},
};

use crate::{
    deployment::{Deployment, MAX_VALUE_BYTES, drain},
    expected::Expected,
    tables::assert_tables_equal,
};

/// A backlog with 1% bad records, some events in two versions, and everything sent three times in three orders.
pub fn sent_three_times(records: u64, seed: u64) -> Vec<GeneratedRecord> {
    let shape = Shape {
        records,
        seed,
        duplicate_share: 0.0,
        bad_share: 0.01,
        max_value_bytes: MAX_VALUE_BYTES,
        ..Shape::default()
    };
    let once: Vec<_> = Generator::new(shape).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sent = once.clone();
    for _ in 0..2 {
        let mut again = once.clone();
        random.shuffle(&mut again);
        sent.extend(again);
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_drained_topic_by_topic_ends_before_prompts_equals_its_fold() {
    let deployment = Deployment::new(3).await;
    let sent = sent_three_times(50_000, 11);
    deployment.send(&sent).await;
    let expected = Expected::of(&sent);
    let of_decoding = |reason: &Reason| !matches!(reason, Reason::Unstorable | Reason::Rejected);
    for reason in Reason::ALL.into_iter().filter(of_decoding) {
        assert!(expected.dead_letters.iter().any(|(name, _)| name == reason.as_str()), "{reason:?} was not sent");
    }

    let (mut applied, mut duplicates, mut dead) = (0, 0, 0);
    for kind in [EventKind::Ended, EventKind::Prompt, EventKind::Tool, EventKind::Started] {
        let totals = drain(&deployment.config_of_topic(kind)).await;
        applied += totals.applied;
        duplicates += totals.duplicates;
        dead += totals.dead_letters();
    }

    assert_tables_equal(&deployment, &expected).await;
    assert_eq!(applied, expected.distinct_events());
    assert_eq!(applied + duplicates, expected.events);
    assert_eq!(dead, expected.dead_letters.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_drain_of_the_same_log_by_another_group_changes_no_session() {
    let mut deployment = Deployment::new(2).await;
    let sent: Vec<_> = Generator::new(Shape { records: 4_000, bad_share: 0.0, ..Shape::default() }).collect();
    deployment.send(&sent).await;
    let first = deployment.drain().await;
    let mut connection = deployment.connect().await;
    let versions = "SELECT session_id, version, updated_at::text FROM sessions ORDER BY session_id";
    let before: Vec<(String, i64, String)> = sqlx::query_as(versions).fetch_all(&mut connection).await.unwrap();

    deployment.set("SESSIONFOLD_KAFKA__GROUP_ID", &format!("{}-again", deployment.group_id));
    let second = deployment.drain().await;

    assert_eq!((second.applied, second.duplicates), (0, first.applied + first.duplicates));
    let after: Vec<(String, i64, String)> = sqlx::query_as(versions).fetch_all(&mut connection).await.unwrap();
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_kinds_are_counted_and_leave_no_row() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_EVENTS__IGNORE", "hook.heartbeat");
    let heartbeat = GeneratedRecord {
        kind: EventKind::Tool,
        key: b"k".to_vec(),
        value: Some(br#"{"event_type":"hook.heartbeat","at":1}"#.to_vec()),
        headers: Vec::new(),
        timestamp_millis: 0,
        intended: None,
    };
    deployment.send([&heartbeat, &heartbeat]).await;
    let totals = deployment.drain().await;
    assert_eq!((totals.ignored, totals.records()), (2, 2));
    let mut connection = deployment.connect().await;
    let rows: i64 = sqlx::query_scalar("SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM dead_letters)")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(rows, 0);
}
