//! A generation is built beside the live tables and takes their place at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{SecondsFormat, TimeDelta, Utc};
use sessionfold::{
    event::EventKind,
    generate::GeneratedRecord,
    record::{NextOffset, TopicPartition},
    service::open_store,
};
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinHandle;

use crate::{
    deployment::Deployment,
    flow::Flow,
    guarantees::records,
    program::{Instance, run, until},
    records::{prompt, started},
    replay::run_json,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// Sessions that fell silent three quarters of an hour ago.
fn silent_for_45_minutes(sessions: u8) -> Vec<GeneratedRecord> {
    let at = (Utc::now() - TimeDelta::minutes(45)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let session = |number: u8| {
        let id = format!("silent-{number}");
        [started(&id, 1, &at), prompt(&id, 2, &at)]
    };
    (0..sessions).flat_map(session).collect()
}

async fn lag(deployment: &Deployment, connection: &mut PgConnection, sent: usize) -> i64 {
    let read: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(next_offset), 0)::bigint FROM sessionfold.checkpoints WHERE group_id = $1",
    )
    .bind(&deployment.group_id)
    .fetch_one(connection)
    .await
    .unwrap();
    i64::try_from(sent).unwrap() - read
}

/// Somebody who reads all the time, and what they must always find: no session less than before, and exactly the events
/// that these count.
struct Reader {
    stop: Arc<AtomicBool>,
    reading: JoinHandle<u64>,
}

impl Reader {
    fn start(deployment: &Deployment) -> Self {
        let (url, stop) = (deployment.url.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let read = async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            connection.execute("SET search_path TO sessionfold").await.unwrap();
            let (mut reads, mut most) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let (sessions, counted, stored): (i64, i64, i64) = sqlx::query_as(
                    "SELECT count(*), coalesce(sum(event_count), 0)::bigint,
                        (SELECT count(*) FROM prompts) + (SELECT count(*) FROM tool_executions)
                            + (SELECT count(*) FROM lifecycle_events)
                     FROM sessions",
                )
                .fetch_one(&mut connection)
                .await
                .unwrap();
                assert_eq!(counted, stored, "read {reads} met a mixed state");
                assert!(sessions >= most, "read {reads}: {sessions} sessions where there were {most}");
                most = sessions;
                reads += 1;
            }
            reads
        };
        Self { stop, reading: tokio::spawn(read) }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.reading.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_with_the_same_settings_differs_in_nothing_also_where_sessions_were_timed_out() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "200ms");
    let sent = records(10_000, 31);
    deployment.send(&sent).await;
    let mut instance = Instance::start(&deployment, &["run"]);
    let mut connection = deployment.connect().await;
    let swept = async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions WHERE status IN ('active', 'orphan')")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        left == 0 && lag(&deployment, &mut connection, sent.len()).await == 0
    };
    until("all is read and swept", PATIENCE, swept).await;

    run_json(&deployment, &["replay", "--into", "again", "--json"]);
    let diff = run_json(&deployment, &["generations", "diff", "live", "again", "--json"]);
    assert_eq!(diff["differing"], 0, "{diff}");
    assert_eq!((&diff["only_in_first"], &diff["only_in_second"]), (&0.into(), &0.into()));
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_with_another_timeout_is_promoted_under_load_without_a_gap_and_back() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "200ms");
    let silent = silent_for_45_minutes(40);
    deployment.send(&silent).await;
    let flow = Flow::start(&deployment, 32, 1_000);
    let mut instances = [Instance::start(&deployment, &["run"]), Instance::start(&deployment, &["run"])];
    let mut connection = deployment.connect().await;
    let mut count = async |query: &'static str| -> i64 {
        // By its full name, also after another generation has that.
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    };
    let all = "SELECT count(*) FROM sessionfold.sessions WHERE session_id LIKE 'silent-%'";
    until("the live tables are filled", PATIENCE, async || count(all).await == 40 && flow.sent() > 3_000).await;
    let reader = Reader::start(&deployment);

    let shorter = ["--into", "shorter", "--set", "aggregator.inactivity_timeout=30m", "--json"];
    run_json(&deployment, &[&["replay"][..], &shorter].concat());
    let sweeps = async || {
        let diff = run_json(&deployment, &["generations", "diff", "live", "shorter", "--limit", "10000", "--json"]);
        let examples = diff["examples"].as_array().unwrap();
        let differs = |example: &&serde_json::Value| example["session_id"].as_str().unwrap().starts_with("silent-");
        examples.iter().filter(differs).count() == 40
    };
    assert!(sweeps().await, "the sessions that were silent for 45 minutes differ");

    let promoted = run(&deployment, &["generations", "promote", "shorter", "--yes"]);
    assert!(promoted.status.success(), "{}", String::from_utf8_lossy(&promoted.stderr));
    let timed_out =
        "SELECT count(*) FROM sessionfold.sessions WHERE session_id LIKE 'silent-%' AND status = 'timed_out'";
    assert_eq!(count(timed_out).await, 40, "readers see the promoted ones at once");
    for instance in &instances {
        until("each instance goes on with it", PATIENCE, async || {
            instance.said("another generation was promoted: going on with it") > 0
        })
        .await;
    }
    let sent_until_now = flow.sent();
    let sent = flow.end(sent_until_now + 5_000).await;
    let everything = sent.len() + silent.len();
    let mut other = deployment.connect().await;
    let read_all = async || lag(&deployment, &mut other, everything).await == 0;
    until("everything is in the promoted tables", PATIENCE, read_all).await;
    assert!(reader.end().await > 20);

    for check in [&["verify"][..], &["verify", "--topics"]] {
        let output = run(&deployment, check);
        assert!(output.status.success(), "{check:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let back = run(&deployment, &["generations", "promote", "original", "--yes"]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    assert_eq!(count(timed_out).await, 0, "with an hour they are not silent for long enough");
    let read_all = async || lag(&deployment, &mut other, everything).await == 0;
    until("the tables of before hold what came meanwhile", PATIENCE, read_all).await;
    assert!(run(&deployment, &["verify", "--topics"]).status.success());
    for instance in &mut instances {
        instance.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_or_partial_generation_is_not_promoted() {
    let deployment = Deployment::new(1).await;
    deployment.send(&records(2_000, 33)).await;
    deployment.drain().await;
    run_json(&deployment, &["replay", "--into", "partial", "--topic", &deployment.topics[0], "--json"]);
    let refused = run(&deployment, &["generations", "promote", "partial", "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("was not replayed into generation partial"), "{said}");

    let mut slow = Instance::start(&deployment, &["replay", "--into", "slow", "--rate", "200"]);
    let mut connection = deployment.connect().await;
    let begun = async || {
        let query = "SELECT sum(next_offset)::bigint FROM sessionfold_generation_slow.checkpoints";
        sqlx::query_scalar::<_, Option<i64>>(query).fetch_one(&mut connection).await.is_ok_and(|sum| sum > Some(0))
    };
    until("it has begun", PATIENCE, begun).await;
    slow.kill();
    let refused = run(&deployment, &["generations", "promote", "slow", "--yes"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("has not come to its end"), "{said}");

    let dropped = run(&deployment, &["generations", "drop", "slow", "--yes"]);
    assert!(dropped.status.success(), "{}", String::from_utf8_lossy(&dropped.stderr));
    let listed = run_json(&deployment, &["generations", "list", "--json"]);
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["original", "partial"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_a_halted_partition_goes_on_with_a_promoted_generation() {
    let deployment = Deployment::new(1).await;
    let sent = records(2_000, 34);
    deployment.send(&sent).await;
    let outside = TopicPartition::new(deployment.topic(EventKind::Tool), 0);
    let store = open_store(&deployment.config());
    let beyond = NextOffset::new(1_000_000);
    store.create_checkpoints(&deployment.group_id, &[(outside.clone(), beyond)]).await.unwrap();
    let mut instance = Instance::start(&deployment, &["run"]);
    until("the partition halts", PATIENCE, async || instance.said("a partition halted") > 0).await;
    run_json(&deployment, &["replay", "--into", "whole", "--json"]);
    let promoted = run(&deployment, &["generations", "promote", "whole", "--yes"]);
    assert!(promoted.status.success(), "{}", String::from_utf8_lossy(&promoted.stderr));
    let follows = async || instance.said("another generation was promoted: going on with it") > 0;
    // What comes now is what makes it look.
    deployment.send(&[started("after", 1, "2026-03-01T09:00:00Z")]).await;
    until("the instance goes on with it", PATIENCE, follows).await;
    let mut connection = deployment.connect().await;
    let stored = async || {
        let query = "SELECT EXISTS (SELECT FROM sessionfold.sessions WHERE session_id = 'after')";
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    };
    until("what came after the promotion is stored", PATIENCE, stored).await;
    assert!(instance.is_running());
    instance.stop().await;
}
