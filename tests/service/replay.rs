//! The logs can be folded once more at any time.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sessionfold::{
    event::EventKind,
    generate::{GeneratedRecord, Generator, Shape},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    deployment::{Deployment, MAX_VALUE_BYTES},
    expected::Expected,
    program::{Instance, run, until},
    records::{prompt, started},
    tables::assert_tables_equal,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// The demo's kind: out of order, duplicated, and bad ones among them.
fn backlog(records: u64, seed: u64) -> Vec<GeneratedRecord> {
    Generator::new(Shape { records, seed, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() }).collect()
}

/// Runs a command that has to succeed, and reads its output as JSON.
pub fn run_json(deployment: &Deployment, arguments: &[&str]) -> Value {
    let output = run(deployment, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every row of the tables, but for what is known of replays.
async fn dump(connection: &mut PgConnection) -> Vec<String> {
    let mut all = Vec::new();
    for table in [
        "sessions",
        "prompts",
        "tool_executions",
        "lifecycle_events",
        "transitions",
        "dead_letters",
        "aggregates",
        "aggregators",
        "adopted_offsets",
        "(SELECT * FROM checkpoints WHERE NOT starts_with(group_id, 'replay:'))",
    ] {
        let query = format!("SELECT to_jsonb(t)::text FROM {table} AS t ORDER BY 1");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut *connection).await.unwrap();
        all.extend(rows.into_iter().map(|row| format!("{table} {row}")));
    }
    all
}

/// How far the replay into this schema is, by its checkpoints.
async fn replayed(deployment: &Deployment, schema: &str) -> u64 {
    let mut connection = PgConnection::connect(&deployment.url).await.unwrap();
    let query = format!(
        "SELECT coalesce(sum(c.next_offset - r.from_offset), 0)::bigint FROM {schema}.replay_partitions r
         JOIN {schema}.checkpoints c ON c.group_id = 'replay:' || r.name AND c.topic = r.topic AND c.partition = r.partition"
    );
    // The schema is made while this is asked.
    let sum: Result<i64, _> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection).await;
    sum.map_or(0, i64::unsigned_abs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_in_place_changes_no_row() {
    let deployment = Deployment::new(3).await;
    let sent = backlog(20_000, 21);
    deployment.send(&sent).await;
    let drained = deployment.drain().await;
    assert!(drained.dead_letters() > 50 && drained.duplicates > 500);
    let mut connection = deployment.connect().await;
    let before = dump(&mut connection).await;

    for _ in 0..2 {
        let replayed = run_json(&deployment, &["replay", "--json"]);
        assert_eq!(replayed["records"], drained.records());
        assert_eq!(replayed["applied"], 0);
        assert_eq!(replayed["dead_letters"], drained.dead_letters());
        assert!(before == dump(&mut connection).await, "a replay changed a row");
    }
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_fills_the_gap_that_an_adopted_checkpoint_left() {
    let deployment = Deployment::new(1).await;
    let sent = backlog(10_000, 22);
    deployment.send(&sent).await;
    let topic = deployment.topic(EventKind::Tool);
    let expected = Expected::of(&sent);
    let mut connection = deployment.connect().await;
    // Somebody made the group begin behind what nobody has read.
    sqlx::query("INSERT INTO checkpoints (group_id, topic, partition, next_offset) VALUES ($1, $2, 0, 2000)")
        .bind(&deployment.group_id)
        .bind(topic)
        .execute(&mut connection)
        .await
        .unwrap();
    let drained = deployment.drain().await;
    assert_eq!(drained.records(), expected.records - 2_000);

    let offsets = format!("{topic}:0:500");
    let counted = run_json(&deployment, &["replay", "--dry-run", "--from", &offsets, "--json"]);
    let partly = run_json(&deployment, &["replay", "--from", &offsets, "--json"]);
    assert_eq!((&partly["records"], &partly["partitions"][0]["from_offset"]), (&counted["records"], &500.into()));
    assert!(partly["applied"].as_u64().unwrap() > 1_000);

    let rest = run_json(&deployment, &["replay", "--to", &offsets, "--topic", topic, "--json"]);
    assert_eq!(rest["records"], 500);
    assert_tables_equal(&deployment, &expected).await;
    let published: i64 = sqlx::query_scalar("SELECT count(*) FROM transitions WHERE NOT withheld")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM transitions").fetch_one(&mut connection).await.unwrap();
    assert!(published > 0 && published <= all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_tells_others_of_nothing_unless_it_is_asked_to() {
    let deployment = Deployment::new(1).await;
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z"), prompt("s", 2, "2026-03-01T09:00:01Z")]).await;
    let mut connection = deployment.connect().await;
    let withheld = "SELECT withheld FROM transitions";
    run_json(&deployment, &["replay", "--json"]);
    assert_eq!(sqlx::query_scalar::<_, bool>(withheld).fetch_all(&mut connection).await.unwrap(), [true]);

    connection.execute("DELETE FROM sessions").await.unwrap();
    run_json(&deployment, &["replay", "--publish-transitions", "--json"]);
    assert_eq!(sqlx::query_scalar::<_, bool>(withheld).fetch_all(&mut connection).await.unwrap(), [false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_by_time_reads_the_records_of_that_time_only() {
    let deployment = Deployment::new(1).await;
    let at = |minute: u8| {
        let time = format!("2026-03-01T09:{minute:02}:00Z");
        let timestamp_millis = time.parse::<DateTime<Utc>>().unwrap().timestamp_millis();
        GeneratedRecord { timestamp_millis, ..prompt("s", minute, &time) }
    };
    deployment.send(&[at(1), at(2), at(3), at(4), at(5)]).await;
    let (from, to) = ("2026-03-01T09:01:30Z", "2026-03-01T09:04:00Z");
    let replayed = run_json(&deployment, &["replay", "--from", from, "--to", to, "--json"]);
    assert_eq!((&replayed["records"], &replayed["applied"]), (&2.into(), &2.into()));
    // A time after the last record is the log's end, whatever a broker answers.
    let nothing = run_json(&deployment, &["replay", "--from", "2030-01-01T00:00:00Z", "--json"]);
    assert_eq!(nothing["records"], 0);
    let before_all = run_json(&deployment, &["replay", "--from", "2020-01-01T00:00:00Z", "--json"]);
    assert_eq!((&before_all["records"], &before_all["duplicates"]), (&5.into(), &2.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_what_is_not_stored_yet_and_writes_nothing() {
    let deployment = Deployment::new(2).await;
    deployment.send(&backlog(3_000, 23)).await;
    let counted = run_json(&deployment, &["replay", "--dry-run", "--json"]);
    let mut connection = deployment.connect().await;
    assert!(dump(&mut connection).await.is_empty());
    let drained = deployment.drain().await;
    assert_eq!(counted["records"], drained.records());
    assert_eq!(counted["dead_letters"], drained.dead_letters());
    let again = run_json(&deployment, &["replay", "--dry-run", "--json"]);
    assert_eq!((&again["applied"], &again["records"]), (&0.into(), &counted["records"]));
    // A generation that there is not is not made for that.
    run_json(&deployment, &["replay", "--into", "other", "--dry-run", "--json"]);
    assert_eq!(run_json(&deployment, &["generations", "list", "--json"]).as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_was_killed_goes_on_where_it_was() {
    let deployment = Deployment::new(2).await;
    let sent = backlog(30_000, 24);
    deployment.send(&sent).await;
    deployment.drain().await;
    let (schema, records) = ("sessionfold_generation_killed", sent.len() as u64);
    let arguments = ["replay", "--into", "killed", "--json"];
    let mut first = Instance::start(&deployment, &[&arguments[..], &["--rate", "10000"]].concat());
    let a_third = async || replayed(&deployment, schema).await >= records / 3;
    until("a third is replayed", PATIENCE, a_third).await;
    first.kill();
    // A commit that was under way ends within a moment, or is rolled back.
    let mut seen = u64::MAX;
    let settled = async || std::mem::replace(&mut seen, replayed(&deployment, schema).await) == seen;
    until("nothing is written any more", PATIENCE, settled).await;
    let done = replayed(&deployment, schema).await;
    assert!(done < records, "the kill came too late to mean anything");

    let second = run_json(&deployment, &arguments);
    // What the first had read and not committed is read again: that is within the batches that it had in hand.
    assert_eq!(second["records"], records - done);
    let diff = run_json(&deployment, &["generations", "diff", "live", "killed", "--exit-code", "--json"]);
    assert_eq!(diff["differing"], 0);
}

/// Between two records there is more time than after which silence is taken for a log's end.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_replay_ends_with_its_last_record_and_not_before() {
    let deployment = Deployment::new(3).await;
    let sent = backlog(60, 26);
    deployment.send(&sent).await;
    let begun = Instant::now();
    let replayed = run_json(&deployment, &["replay", "--rate", "12", "--json"]);
    assert_eq!(replayed["records"], 60);
    assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(deployment.drain().await.applied, 0);
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_is_not_extended_in_silence_over_a_topic_that_was_made_anew() {
    let deployment = Deployment::new(1).await;
    deployment.send(&backlog(500, 27)).await;
    let extend = ["replay", "--into", "other", "--json"];
    run_json(&deployment, &extend);
    assert_eq!(run_json(&deployment, &extend)["records"], 0);
    // As if the log had held a million records then.
    let mut connection = deployment.connect().await;
    let moved = "UPDATE sessionfold_generation_other.checkpoints SET next_offset = 1000000 WHERE topic = $1";
    let topic = deployment.topic(EventKind::Tool);
    sqlx::query(moved).bind(topic).execute(&mut connection).await.unwrap();
    let refused = run(&deployment, &extend);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains(topic) && said.contains("1000000"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_replay_is_not_taken_for_another() {
    let deployment = Deployment::new(1).await;
    deployment.send(&backlog(5_000, 25)).await;
    let mut first = Instance::start(&deployment, &["replay", "--rate", "1000"]);
    let begun = async || replayed(&deployment, "sessionfold").await > 0;
    until("it has begun", PATIENCE, begun).await;
    first.terminate();
    assert_eq!(first.wait(PATIENCE).await.code(), Some(1), "it did not come to its end, and says so");

    let other = run(&deployment, &["replay", "--from", "2026-03-01T09:00:00Z"]);
    assert_eq!(other.status.code(), Some(2), "{}", String::from_utf8_lossy(&other.stderr));
    let rest = run_json(&deployment, &["replay", "--json"]);
    let (before, read) = (rest["offsets_read_before"].as_u64().unwrap(), rest["records"].as_u64().unwrap());
    assert!(before > 0 && before + read == 5_000, "{rest}");
    let anew = run_json(&deployment, &["replay", "--restart", "--json"]);
    assert_eq!(anew["records"], 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_can_not_be_meant_is_wrong_usage() {
    let deployment = Deployment::new(1).await;
    for arguments in [
        &["replay", "--from", "tomorrow"][..],
        &["replay", "--into", "Not a name"],
        &["replay", "--set", "aggregator.kind=reference"],
        &["generations", "drop", "original", "--yes"],
    ] {
        let output = run(&deployment, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
