//! `sessionfold offsets`: what stands where, and checkpoints that an operator moves.

use std::{process::Output, time::Duration};

use serde_json::{Value, json};
use sessionfold::{
    event::EventKind,
    generate::{GeneratedRecord, Generator, Shape},
    stream::group_members,
};

use crate::{
    deployment::{Deployment, MAX_VALUE_BYTES},
    expected::Expected,
    program::{self, Instance, until},
    records::prompt,
    tables::assert_tables_equal,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn records(records: u64) -> Vec<GeneratedRecord> {
    Generator::new(Shape { records, bad_share: 0.0, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() }).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

/// The row of a topic's first partition.
fn shown(deployment: &Deployment, kind: EventKind) -> Value {
    let output = program::run(deployment, &["offsets", "show", "--json"]);
    assert!(output.status.success(), "{}", text(&output));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = shown["partitions"].as_array().unwrap();
    let is_row = |row: &&Value| row["topic"] == deployment.topic(kind) && row["partition"] == 0;
    rows.iter().find(is_row).unwrap().clone()
}

/// Three prompts at these seconds after some time of 2026.
fn prompts_at(seconds: [i64; 3]) -> Vec<GeneratedRecord> {
    let at = |(id, seconds): (u8, i64)| GeneratedRecord {
        timestamp_millis: 1_772_355_600_000 + seconds * 1_000,
        ..prompt("s", id, "2026-03-01T08:00:00Z")
    };
    (1..).zip(seconds).map(at).collect()
}

/// One by one: the development broker tells ends and times of logs by whole batches of a producer.
async fn send_each(deployment: &Deployment, records: &[GeneratedRecord]) {
    for record in records {
        deployment.send([record]).await;
    }
}

/// A deployment with so many partitions a topic, which has drained these records.
async fn drained(partitions: i32, records: &[GeneratedRecord]) -> Deployment {
    let deployment = Deployment::new(partitions).await;
    deployment.send(records).await;
    deployment.drain().await;
    deployment
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_and_time_behind_are_those_of_the_first_record_that_was_not_read() {
    let sent = prompts_at([0, 3_600, 7_200]);
    let deployment = drained(1, &sent[..1]).await;
    let row = shown(&deployment, EventKind::Prompt);
    assert_eq!(
        row,
        json!({"topic": deployment.topic(EventKind::Prompt), "partition": 0, "checkpoint": 1, "committed": 1,
            "earliest": 0, "latest": 1, "lag": 0, "behind_seconds": null, "error": null})
    );
    send_each(&deployment, &sent[1..]).await;
    let row = shown(&deployment, EventKind::Prompt);
    assert_eq!((&row["checkpoint"], &row["latest"], &row["lag"]), (&json!(1), &json!(3), &json!(2)), "{row}");
    let since_second = (chrono::Utc::now().timestamp_millis() - sent[1].timestamp_millis) as f64 / 1_000.0;
    let behind = row["behind_seconds"].as_f64().unwrap();
    assert!((since_second - behind).abs() < 30.0, "{behind} s behind, not {since_second} s");
    let printed = text(&program::run(&deployment, &["offsets", "show"]));
    assert!(
        printed.contains("behind") && printed.lines().any(|line| line.contains("[0]") && line.ends_with('-')),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_broker_the_checkpoints_are_shown() {
    let mut deployment = drained(1, &records(500)).await;
    let with_broker = shown(&deployment, EventKind::Tool);
    deployment.set("SESSIONFOLD_KAFKA__BROKERS", "127.0.0.1:1");
    let row = shown(&deployment, EventKind::Tool);
    assert_eq!(row["checkpoint"], with_broker["checkpoint"]);
    assert_eq!((&row["latest"], &row["error"]), (&Value::Null, &json!("the broker was not asked")));
    let output = program::run(&deployment, &["offsets", "show"]);
    let (told, printed) = (String::from_utf8_lossy(&output.stderr), text(&output));
    assert!(told.starts_with("the broker's part is missing: no Kafka broker answered"), "{printed}");
    assert_eq!(told.lines().count(), 1, "it is said once: {printed}");
    let topic = deployment.topic(EventKind::Tool);
    assert!(printed.lines().any(|line| line.starts_with(topic) && line.contains(" ? ")), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_back_reads_again_and_changes_nothing() {
    let sent = records(3_000);
    let deployment = drained(2, &sent).await;
    let seek = ["offsets", "seek", "--topic", deployment.topic(EventKind::Tool), "--to", "earliest"];
    assert_eq!(program::run(&deployment, &seek).status.code(), Some(2), "it asks first");
    let output = program::run(&deployment, &[&seek[..], &["--yes"]].concat());
    assert!(output.status.success(), "{}", text(&output));
    let again = deployment.drain().await;
    assert!(again.duplicates > 1_000 && again.applied == 0, "{again:?}");
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
    let moved: i64 = sqlx::query_scalar("SELECT count(*) FROM adopted_offsets WHERE to_offset = 0 AND gap = 0")
        .fetch_one(&mut deployment.connect().await)
        .await
        .unwrap();
    assert_eq!(moved, 2, "a decision for each partition");
}

/// Lag as Kafka's tools tell it would stay for ever where no record comes any more.
#[tokio::test(flavor = "multi_thread")]
async fn kafkas_offset_follows_a_seek_to_the_end_behind_which_nothing_comes() {
    let sent = prompts_at([0, 1, 2]);
    let deployment = drained(1, &sent[..1]).await;
    send_each(&deployment, &sent[1..]).await;
    let topic = deployment.topic(EventKind::Prompt);
    let output = program::run(&deployment, &["offsets", "seek", "--topic", topic, "--to", "latest", "--yes"]);
    assert!(output.status.success(), "{}", text(&output));
    let row = shown(&deployment, EventKind::Prompt);
    assert_eq!((&row["checkpoint"], &row["committed"]), (&json!(3), &json!(1)), "{row}");
    deployment.drain().await;
    let row = shown(&deployment, EventKind::Prompt);
    assert_eq!((&row["checkpoint"], &row["committed"]), (&json!(3), &json!(3)), "{row}");
}

/// The development broker goes by when a record came, Kafka by when it was sent: here that is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_seek_to_a_time_begins_with_the_first_record_sent_then_or_later() {
    let deployment = Deployment::new(1).await;
    let now = || chrono::Utc::now();
    let mut times = vec![now()];
    for mut record in prompts_at([0, 1, 2]) {
        tokio::time::sleep(Duration::from_millis(20)).await; // so that the times differ
        record.timestamp_millis = now().timestamp_millis();
        deployment.send([&record]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        times.push(now());
    }
    // Nobody has begun to read: the seek makes the checkpoint.
    for (offset, time) in times[..3].iter().enumerate() {
        let time = time.to_rfc3339();
        let topic = deployment.topic(EventKind::Prompt);
        let seek = ["offsets", "seek", "--topic", topic, "--partition", "0", "--yes", "--to", &time];
        let output = program::run(&deployment, &seek);
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(shown(&deployment, EventKind::Prompt)["checkpoint"], offset, "{times:?}");
    }
    let outside = ["offsets", "seek", "--topic", deployment.topic(EventKind::Prompt), "--yes", "--to", "99"];
    let refused = program::run(&deployment, &outside);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stdout.is_empty(), "nothing is announced that isn't done: {}", text(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_that_moves_nothing_asks_nothing_and_records_nothing() {
    let deployment = drained(2, &records(500)).await;
    let topic = deployment.topic(EventKind::Tool);
    let decisions = async || {
        let count = "SELECT count(*) FROM adopted_offsets";
        sqlx::query_scalar::<_, i64>(count).fetch_one(&mut deployment.connect().await).await.unwrap()
    };
    let seek = ["offsets", "seek", "--topic", topic, "--to", "latest"];
    let adopt = ["offsets", "adopt", "--topic", topic, "--partition", "1", "--to", "latest"];
    for command in [&seek[..], &adopt] {
        let output = program::run(&deployment, command);
        assert!(output.status.success() && text(&output).starts_with("nothing to do"), "{}", text(&output));
        let output = program::run(&deployment, &[command, &["--json"]].concat());
        assert!(output.status.success() && text(&output) == "[]\n", "{}", text(&output));
    }
    assert_eq!(decisions().await, 0);
    // Of two partitions only the one that moves is told of and recorded.
    let back = ["offsets", "seek", "--topic", topic, "--partition", "0", "--to", "0", "--yes"];
    assert!(program::run(&deployment, &back).status.success());
    let output = program::run(&deployment, &[&seek[..], &["--yes"]].concat());
    assert!(output.status.success() && !text(&output).contains("[1]"), "{}", text(&output));
    assert_eq!(decisions().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_moved_while_an_instance_runs() {
    let deployment = Deployment::new(1).await;
    deployment.send(&records(500)).await;
    let mut instance = Instance::start(&deployment, &["run"]);
    let kafka = deployment.config().kafka;
    let members = || group_members(&kafka, Duration::from_secs(10)).unwrap().map(|members| members.len());
    // The development broker lists a group once it has committed something.
    until("the instance is a member of the group", PATIENCE, async || members() == Some(1)).await;
    let seek = ["offsets", "seek", "--topic", deployment.topic(EventKind::Tool), "--to", "earliest", "--yes"];
    let output = program::run(&deployment, &[&seek[..], &["--force"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("has members (sessionfold"), "{}", text(&output));
    instance.stop().await;
    until("the instance has left the group", PATIENCE, async || members() == Some(0)).await;
    let output = program::run(&deployment, &seek);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(shown(&deployment, EventKind::Tool)["checkpoint"], 0);
}
