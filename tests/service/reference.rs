//! The reference aggregator through Kafka and Postgres: what its vectors say, in the order of arrival.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use sessionfold::{
    event::EventKind,
    fold::{Aggregators, Convergent, Reference},
    generate::GeneratedRecord,
    pipeline::Totals,
    service::{Service, open_store, reference},
    store::{Publication, Sweep, SweepInstant, SweepScope},
    stream::Until,
};

use crate::{
    deployment::Deployment,
    program::run,
    records::{prompt, started},
    tables::{instant_of, rows},
};

fn vectors() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/reference_aggregation.jsonl");
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One topic with one partition, since the order between partitions isn't kept.
fn in_one_topic(vectors: &[Value]) -> Vec<GeneratedRecord> {
    let events = vectors.iter().flat_map(|vector| vector["events"].as_array().unwrap());
    let record = |event: &Value| GeneratedRecord {
        kind: EventKind::Started,
        key: event["payload"]["session_id"].as_str().unwrap().into(),
        value: Some(event.to_string().into_bytes()),
        headers: Vec::new(),
        timestamp_millis: 4_000_000_000_000,
        intended: None,
    };
    events.map(record).collect()
}

async fn drain(deployment: &Deployment) -> Totals {
    let config = deployment.config_of_topic(EventKind::Started);
    let aggregators = Aggregators::new(reference(&config));
    let service = Service::start(&config, open_store(&config), aggregators, Until::Drained).unwrap();
    service.run().await.unwrap()
}

const SESSIONS: &str = "SELECT jsonb_build_object('session_id', session_id, 'status', status,
    'correlation_id', correlation_id, 'started_at', started_at, 'ended_at', ended_at,
    'duration_seconds', duration_seconds, 'working_directory', working_directory, 'git_branch', git_branch,
    'hook_source', hook_source, 'end_reason', end_reason, 'prompt_count', prompt_count, 'tool_count', tool_count,
    'tools_used_count', tools_used_count, 'event_count', event_count, 'last_event_at', last_event_at) FROM sessions";

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_vectors_come_out_of_kafka_and_postgres_as_they_say() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_AGGREGATOR__KIND", "reference");
    deployment.set("SESSIONFOLD_AGGREGATOR__KEEP_REJECTED", "true");
    // Sessions go through several batches.
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "7");
    let vectors = vectors();
    deployment.send(&in_one_topic(&vectors)).await;

    let totals = drain(&deployment).await;

    let metric = |name: &str| vectors.iter().map(|vector| vector["metrics"][name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(totals.applied, metric("events_processed"));
    assert_eq!(totals.rejected() + totals.duplicates, metric("events_rejected"));
    assert_eq!(totals.duplicates, 0);
    let mut connection = deployment.connect().await;
    let stored = rows(&mut connection, SESSIONS).await;
    assert_eq!(stored.len() as u64, metric("sessions_created"));
    let stored: BTreeMap<String, Value> =
        stored.into_iter().map(|row| (row["session_id"].as_str().unwrap().to_owned(), row)).collect();
    for expected in vectors.iter().flat_map(|vector| vector["snapshots"].as_array().unwrap()) {
        let actual = &stored[expected["session_id"].as_str().unwrap()];
        for (name, value) in expected.as_object().unwrap() {
            if name != "prompts" && name != "tools" {
                assert_eq!(comparable(&actual[name]), comparable(value), "{name} of {}", expected["session_id"]);
            }
        }
    }
    let kept: Vec<(String, i64)> =
        sqlx::query_as("SELECT detail, count(*) FROM dead_letters WHERE reason = 'rejected' GROUP BY 1 ORDER BY 1")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let counted: Vec<(String, i64)> =
        totals.rejected.iter().map(|(rejection, count)| (rejection.to_string(), count.cast_signed())).collect();
    assert_eq!(kept, counted);
}

/// Times compare as instants, numbers by value.
fn comparable(value: &Value) -> String {
    match value {
        Value::String(text) => instant_of(text).unwrap_or_else(|| text.clone()),
        Value::Number(number) => number.as_f64().unwrap().to_string(),
        other => other.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_events_are_counted_and_not_kept_unless_asked_for() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_AGGREGATOR__KIND", "reference");
    deployment.send(&in_one_topic(&vectors()[..30])).await;
    let totals = drain(&deployment).await;
    assert!(totals.rejected() > 0);
    let mut connection = deployment.connect().await;
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letters").fetch_one(&mut connection).await.unwrap();
    assert_eq!(kept, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_of_arrival_order_refuses_tables_that_another_one_folded() {
    let mut deployment = Deployment::new(1).await;
    deployment.send(&in_one_topic(&vectors()[..5])).await;
    let store = open_store(&deployment.config());
    assert!(store.incomplete_aggregators(&Aggregators::new(Convergent::default())).await.unwrap().is_empty());
    deployment.drain().await;

    let refused = store.incomplete_aggregators(&Aggregators::new(Reference::default())).await.unwrap_err();
    assert!(refused.to_string().contains("postgres.schema"), "{refused}");
    deployment.set("SESSIONFOLD_AGGREGATOR__KIND", "reference");
    let output = run(&deployment, &["run", "--drain"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("reference/1 can't take them over"));
}

/// What it had rejected is in no table: folded again from the stored events, a session would lack it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_reference_aggregator_folded_is_refused_by_the_convergent_one() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_AGGREGATOR__KIND", "reference");
    deployment.send(&in_one_topic(&vectors()[..30])).await;
    drain(&deployment).await;
    deployment.set("SESSIONFOLD_AGGREGATOR__KIND", "convergent");
    for arguments in [&["run", "--drain"][..], &["verify", "--repair", "--yes"]] {
        let output = run(&deployment, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("convergent/1 can't take them over"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_outs_of_the_reference_aggregator_are_final_and_verified_as_such() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_AGGREGATOR__KIND", "reference");
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z"), prompt("s", 2, "2026-03-01T09:01:00Z")]).await;
    let service = |deployment: &Deployment| {
        let config = deployment.config();
        Service::start(&config, open_store(&config), Aggregators::new(reference(&config)), Until::Drained).unwrap()
    };
    service(&deployment).run().await.unwrap();
    let store = open_store(&deployment.config());
    let mut connection = deployment.connect().await;
    sqlx::query("UPDATE checkpoints SET caught_up_at = now()").execute(&mut connection).await.unwrap();
    let scope = SweepScope {
        instant: SweepInstant::CaughtUp {
            group_id: deployment.group_id.clone(),
            topics: deployment.topics.clone(),
            within: Duration::from_secs(60),
        },
        max_sessions: 10,
        publication: Publication::Published,
    };
    let swept = store.sweep(&Reference::default(), &scope).await.unwrap();
    assert_eq!(swept, Sweep::Swept { timed_out: 1, more: false });

    deployment.send([&prompt("s", 3, "2026-03-01T09:02:00Z")]).await;
    let totals = service(&deployment).run().await.unwrap();
    assert_eq!((totals.applied, totals.rejected()), (0, 1), "it is final");

    assert_eq!(run(&deployment, &["verify"]).status.code(), Some(0));
    // A time-out that was final stays so, whatever the setting is now.
    let longer = ["--set", "aggregator.inactivity_timeout=87600h"];
    assert_eq!(run(&deployment, &[&["verify"][..], &longer].concat()).status.code(), Some(0));

    sqlx::query("UPDATE sessions SET status = 'active'").execute(&mut connection).await.unwrap();
    let output = run(&deployment, &["verify", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["difference_count"].as_u64(), &report["differences"][0]["field"]), (Some(1), &"status".into()));
    assert_eq!(run(&deployment, &["verify", "--repair", "--yes"]).status.code(), Some(0));
    let row: (String, String) = sqlx::query_as(
        "SELECT status, (SELECT to_status FROM transitions t WHERE t.session_version = s.version) FROM sessions s",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(row, ("timed_out".to_owned(), "timed_out".to_owned()));
    assert_eq!(run(&deployment, &["verify", "--topics"]).status.code(), Some(2), "the topics have no such order");
}
