//! The invariants that no other test holds: fencing, the authority on offsets, lost updates, outages, bounds, halts,
//! secrets.

use std::{sync::Arc, time::Duration};

use sessionfold::{
    event::EventKind,
    fold::{Aggregators, Convergent},
    generate::{GeneratedRecord, Generator, Shape},
    record::{NextOffset, TopicPartition},
    service::open_store,
    store::{BatchCommit, CheckpointMove, CommitError, Publication, TakenFrom},
    stream::log_ends,
};
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    crashes::committed_records,
    deployment::{Deployment, MAX_VALUE_BYTES, drain},
    expected::Expected,
    locks::until_batches_wait,
    program::{Instance, run, until},
    tables::{assert_tables_equal, forget_second_letters},
};

const PATIENCE: Duration = Duration::from_secs(60);

pub fn records(records: u64, seed: u64) -> Vec<GeneratedRecord> {
    Generator::new(Shape { records, seed, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_checkpoint_was_moved_by_another_is_fenced() {
    let deployment = Deployment::new(1).await;
    let store = open_store(&deployment.config());
    let partition = TopicPartition::new("t", 0);
    let group = "g";
    store.create_checkpoints(group, &[(partition.clone(), NextOffset::new(0))]).await.unwrap();
    let step = |expected, next| CheckpointMove {
        partition: partition.clone(),
        expected: NextOffset::new(expected),
        next: NextOffset::new(next),
    };
    let aggregators = Aggregators::new(Convergent::default());
    let commit = async |moves: &[CheckpointMove]| {
        let taken_from = TakenFrom::Log { group_id: group, moves, dead_letters: &[] };
        let publication = Publication::Published;
        let batch = BatchCommit { taken_from, aggregators: &aggregators, changes: &[], publication };
        sessionfold::store::commit(&store, &batch).await
    };
    let committed = commit(&[step(0, 10)]).await.unwrap();
    let [checkpoint] = committed.checkpoints() else { panic!("{committed:?}") };
    assert_eq!((checkpoint.partition(), checkpoint.next()), (&partition, NextOffset::new(10)));

    // The same batch again: fenced, and known as the one that happened.
    let Err(CommitError::Fenced(fenced)) = commit(&[step(0, 10)]).await else { panic!("not fenced") };
    assert_eq!(fenced.resolves(&[step(0, 10)]), Some(committed));
    // Another batch from the same place: fenced, and not known.
    let Err(CommitError::Fenced(fenced)) = commit(&[step(0, 20)]).await else { panic!("not fenced") };
    assert_eq!(fenced.resolves(&[step(0, 20)]), None);
    let stands = store.checkpoints(group, std::slice::from_ref(&partition)).await.unwrap();
    assert_eq!(stands[&partition], NextOffset::new(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_starts_at_the_checkpoint_whatever_kafka_says_and_kafka_follows() {
    let deployment = Deployment::new(2).await;
    let sent = records(4_000, 21);
    deployment.send(&sent).await;
    deployment.drain().await;
    let config = deployment.config();
    for ends in log_ends(&config.kafka, Duration::from_secs(10)).unwrap() {
        let checkpoints =
            open_store(&config).checkpoints(&deployment.group_id, std::slice::from_ref(&ends.partition)).await.unwrap();
        assert_eq!(ends.committed, checkpoints.get(&ends.partition).copied().filter(|next| next.get() > 0));
    }

    let mut connection = deployment.connect().await;
    let moved_back = "UPDATE checkpoints SET next_offset = next_offset - 100 WHERE next_offset > 100";
    let partitions = connection.execute(moved_back).await.unwrap().rows_affected();
    let again = deployment.drain().await;
    assert_eq!(again.records(), partitions * 100);
    assert_eq!(again.applied, 0);

    // Without checkpoints, Kafka's committed offsets are the second best source.
    connection.execute("DELETE FROM checkpoints").await.unwrap();
    assert_eq!(deployment.drain().await.records(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_groups_that_fold_the_same_sessions_at_once_lose_no_update() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "300");
    let sent = records(10_000, 22);
    deployment.send(&sent).await;
    let first = deployment.config();
    deployment.set("SESSIONFOLD_KAFKA__GROUP_ID", &format!("{}-other", deployment.group_id));
    // Both have read the sessions, the same ones, before either may write them.
    let (mut blocker, mut observer) = (deployment.connect().await, deployment.connect().await);
    let mut lock = blocker.begin().await.unwrap();
    lock.execute("LOCK TABLE sessions IN EXCLUSIVE MODE").await.unwrap();
    let meet = async {
        until_batches_wait(&mut observer, 2, None).await;
        lock.rollback().await.unwrap();
    };
    let (one, other, ()) = tokio::join!(drain(&first), deployment.drain(), meet);

    let mut expected = Expected::of(&sent);
    assert_eq!(one.applied + other.applied, expected.distinct_events());
    assert!(one.conflicts + other.conflicts > 0);
    // Each group has its own checkpoints, and sets bad records aside for itself.
    expected.records *= 2;
    forget_second_letters(&deployment).await;
    assert_tables_equal(&deployment, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_again_and_again_delays_and_loses_nothing() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "500");
    deployment.set("SESSIONFOLD_POSTGRES__CONNECT_TIMEOUT", "2s");
    let sent = records(20_000, 23);
    deployment.send(&sent).await;
    let mut connection = deployment.connect().await;
    let (database,): (String,) =
        sqlx::query_as("SELECT current_database()::text").fetch_one(&mut connection).await.unwrap();
    let server = std::env::var("SESSIONFOLD_DEV_POSTGRES_URL").unwrap();
    let mut operator = PgConnection::connect(&server).await.unwrap();
    let mut allow = async |allowed: bool| {
        let allow = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS {allowed}");
        operator.execute(sqlx::AssertSqlSafe(allow)).await.unwrap();
        if !allowed {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
            sqlx::query(end).bind(&database).execute(&mut operator).await.unwrap();
        }
    };

    let service = deployment.begin_to_drain();
    let monitor = service.monitor();
    connection.close().await.unwrap();
    let outages = async {
        for outage in 1..=3 {
            let reached = async || monitor.counts.totals().records() >= outage * 4_000;
            until("the drain goes on", PATIENCE, reached).await;
            allow(false).await;
            tokio::time::sleep(Duration::from_millis(1_500)).await; // the outage itself
            allow(true).await;
        }
    };
    let (totals, ()) = tokio::join!(service.run(), outages);
    let expected = Expected::of(&sent);
    assert_eq!(totals.unwrap().applied, expected.distinct_events());
    assert_tables_equal(&deployment, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_stands_still_pauses_the_partitions_and_holds_twice_the_limit_at_most() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "500");
    let sent = records(20_000, 24);
    deployment.send(&sent).await;
    let service = deployment.begin_to_drain();
    let monitor = service.monitor();
    let progress = Arc::clone(&monitor.progress);

    let mut blocker = deployment.connect().await;
    let mut lock = blocker.begin().await.unwrap();
    lock.execute("LOCK TABLE sessions").await.unwrap();
    let stand_still = async {
        until("the partitions are paused", PATIENCE, async || progress.is_paused()).await;
        let read = progress.read();
        assert!(read <= 2 * 500, "{read} records are in memory");
        assert_eq!(monitor.counts.totals().records(), 0);
        lock.rollback().await.unwrap();
    };
    let (totals, ()) = tokio::join!(service.run(), stand_still);
    assert_eq!(totals.unwrap().records(), sent.len() as u64);
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_while_the_partitions_are_paused_neither_stalls_nor_ends_a_drain() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "500");
    let sent = records(20_000, 26);
    deployment.send(&sent).await;
    let service = deployment.begin_to_drain();
    let progress = service.monitor().progress;

    let (mut blocker, mut observer) = (deployment.connect().await, deployment.connect().await);
    let another_comes_and_goes = async {
        let created = async || {
            let count = "SELECT count(*) FROM checkpoints";
            sqlx::query_scalar::<_, i64>(count).fetch_one(&mut observer).await.unwrap() == 8
        };
        until("there are checkpoints", PATIENCE, created).await;
        // Whoever commits has to wait; whoever starts may read.
        let mut lock = blocker.begin().await.unwrap();
        lock.execute("SELECT FROM checkpoints FOR UPDATE").await.unwrap();
        until("the partitions are paused", PATIENCE, async || progress.is_paused()).await;
        let mut other = Instance::start(&deployment, &["run"]);
        until("partitions are revoked", PATIENCE, async || progress.discarded() > 0).await;
        other.kill();
        lock.rollback().await.unwrap();
    };
    let (totals, ()) = tokio::join!(service.run(), another_comes_and_goes);
    assert!(totals.unwrap().applied > 3 * 500, "the drain ended with what was in memory");
    // The killed one may still count as a member, so the drain's share was perhaps a half. Somebody takes the rest.
    let _rest = Instance::start(&deployment, &["run"]);
    let all = async || committed_records(&mut observer).await == sent.len() as u64;
    until("the rest is committed", PATIENCE, all).await;
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_beyond_the_log_halts_its_partition_until_somebody_decides() {
    let deployment = Deployment::new(2).await;
    let sent = records(2_000, 25);
    deployment.send(&sent).await;
    let partition = TopicPartition::new(deployment.topic(EventKind::Tool), 0);
    let store = open_store(&deployment.config());
    store.create_checkpoints(&deployment.group_id, &[(partition.clone(), NextOffset::new(1_000_000))]).await.unwrap();

    let halted = run(&deployment, &["run", "--drain"]);
    let log = String::from_utf8(halted.stderr).unwrap();
    assert_eq!(halted.status.code(), Some(1), "{log}");
    assert!(log.contains("sessionfold offsets adopt") && log.contains("1000000"), "{log}");
    let mut connection = deployment.connect().await;
    let others: i64 = sqlx::query_scalar("SELECT count(*) FROM prompts").fetch_one(&mut connection).await.unwrap();
    assert!(others > 0, "the other partitions go on");

    let adopt = ["offsets", "adopt", "--topic", &partition.topic, "--partition", "0", "--to", "earliest"];
    assert_eq!(run(&deployment, &adopt).status.code(), Some(2), "it asks first");
    assert!(run(&deployment, &[&adopt[..], &["--yes"]].concat()).status.success());
    let shown = String::from_utf8(run(&deployment, &["offsets", "show"]).stdout).unwrap();
    assert!(shown.contains(&format!("{partition} from 1000000 to 0, 0 skipped; its log held 0 to ")), "{shown}");
    assert!(run(&deployment, &["run", "--drain"]).status.success());
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;

    // Skipping is a gap, and stays known.
    let skip =
        ["offsets", "adopt", "--topic", &partition.topic, "--partition", "0", "--to", "2000000", "--force", "--yes"];
    assert!(run(&deployment, &skip).status.success());
    let gap: i64 = sqlx::query_scalar("SELECT max(gap) FROM adopted_offsets").fetch_one(&mut connection).await.unwrap();
    assert!(gap > 1_990_000, "{gap}");
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_on_a_topic_that_was_made_anew_is_told_and_kept_as_the_gap_that_it_is() {
    let deployment = Deployment::new(1).await;
    let sent = records(2_000, 27);
    deployment.send(&sent).await;
    let topic = deployment.topic(EventKind::Tool);
    let ends = log_ends(&deployment.config().kafka, PATIENCE).unwrap();
    let held = ends.iter().find(|ends| *ends.partition.topic == *topic).unwrap().latest.get();
    assert!(held > 0);
    let beyond = [(TopicPartition::new(topic, 0), NextOffset::new(1_000_000))];
    open_store(&deployment.config()).create_checkpoints(&deployment.group_id, &beyond).await.unwrap();

    let adopt =
        run(&deployment, &["offsets", "adopt", "--topic", topic, "--partition", "0", "--to", "latest", "--yes"]);
    let told = String::from_utf8(adopt.stdout).unwrap();
    assert!(
        adopt.status.success() && told.contains(&format!("{held} offsets before {held} are skipped")),
        "{held}: {told}"
    );
    let gap: i64 =
        sqlx::query_scalar("SELECT gap FROM adopted_offsets").fetch_one(&mut deployment.connect().await).await.unwrap();
    assert_eq!(gap, held);
    let shown = String::from_utf8(run(&deployment, &["offsets", "show"]).stdout).unwrap();
    assert!(shown.contains(&format!("from 1000000 to {held}, {held} skipped")), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_no_row_but_a_dead_letters_value_and_no_log() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_LOG__FILTER", "trace");
    let secret = "sk-PLANTEDplantedPLANTEDplanted";
    let text = format!("use {secret} and password={secret}");
    let id = "00000000-0000-0000-0000-000000000001";
    let common = serde_json::json!({"entity_id": id, "session_id": "s", "correlation_id": id, "causation_id": id,
        "emitted_at": "2026-03-01T09:00:00Z", "action_description": text});
    let with = |kind: &str, own: serde_json::Value| {
        let mut payload = common.clone();
        payload.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        serde_json::json!({"event_type": kind, "payload": payload}).to_string()
    };
    let values = [
        with(
            "hook.prompt.submitted",
            serde_json::json!({"prompt_id": id, "prompt_preview": text, "prompt_length": 1,
            "detected_intent": text}),
        ),
        with("hook.tool.executed", serde_json::json!({"tool_execution_id": id, "tool_name": "Bash", "summary": text})),
        with("hook.tool.executed", serde_json::json!({"tool_execution_id": text, "tool_name": "Bash"})),
        with("hook.tool.executed", serde_json::json!({(text.as_str()): 1})),
        with(&text, serde_json::json!({})),
        text.clone(),
    ];
    let sent: Vec<_> = values
        .into_iter()
        .map(|value| GeneratedRecord {
            kind: EventKind::Tool,
            key: b"k".to_vec(),
            value: Some(value.into_bytes()),
            headers: Vec::new(),
            timestamp_millis: 1_772_355_600_000,
            intended: None,
        })
        .collect();
    deployment.send(&sent).await;

    let output = run(&deployment, &["run", "--drain"]);
    assert!(output.status.success());
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("TRACE") && log.contains("batch committed"), "the log is as talkative as it gets");
    for stream in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(stream).contains("PLANTED"));
    }
    let mut connection = deployment.connect().await;
    for table in ["sessions", "prompts", "tool_executions", "lifecycle_events", "transitions", "checkpoints"] {
        let query = format!("SELECT count(*), count(*) FILTER (WHERE t::text LIKE '%PLANTED%') FROM {table} t");
        let (_, leaks): (i64, i64) =
            sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap();
        assert_eq!(leaks, 0, "{table}");
    }
    let (all, leaks): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE concat(field_path, detail, reason, headers) LIKE '%PLANTED%')
         FROM dead_letters",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!((all, leaks), (4, 0));
}
