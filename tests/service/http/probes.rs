//! Liveness, readiness and health.

use std::time::{Duration, Instant};

use serde_json::Value;
use sessionfold::{
    devstack::{Options, Postgres},
    event::EventKind,
    record::{NextOffset, TopicPartition},
    service::open_store,
};
use sqlx::{AssertSqlSafe, Executor};

use crate::{
    deployment::Deployment,
    outage::watchful,
    outbox::with_topic,
    program::{Instance, until},
    records::{prompt, started},
};

use super::{
    LISTEN, TOKEN,
    client::{Client, PATIENCE},
    ready,
};

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_away_it_is_not_ready_within_five_seconds_yet_alive_and_ready_again_without_a_new_start() {
    let mut postgres = Postgres::start(&Options::default()).await.unwrap();
    let mut deployment = watchful(&postgres.url()).await;
    deployment.set("SESSIONFOLD_HEALTH__STALLED_AFTER", "3s");
    let (mut instance, client) = ready(&mut deployment).await;
    postgres.crash().await;
    let away = Instant::now();
    // Unread records that can't be committed are no reason to start again.
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z")]).await;
    let unready = async || client.get("/readyz").await.body.contains("Postgres does not answer");
    until("it is not ready", Duration::from_secs(5), unready).await;
    assert_eq!(client.status("/readyz").await, 503);
    let refused = client.get("/api/v1/sessions").await;
    refused.problem(503, "/api/v1/sessions");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    while away.elapsed() < Duration::from_secs(8) {
        assert_eq!(client.status("/livez").await, 200, "{}", client.get("/livez").await.body);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let health = client.get("/healthz").await.json();
    let component = &health["components"]["postgres"];
    assert_eq!((&health["status"], &component["connected"]), (&"not ready".into(), &false.into()));
    assert!(component["last_error"].is_string(), "{component}");

    postgres.start_again(&[]).await.unwrap();
    client.until_ready().await;
    let stored = async || client.status("/api/v1/sessions/s").await == 200;
    until("the session can be asked for", PATIENCE, stored).await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_postgres_is_noticed_within_five_seconds() {
    let mut postgres = Postgres::start(&Options::default()).await.unwrap();
    let mut deployment = watchful(&postgres.url()).await;
    let (_instance, client) = ready(&mut deployment).await;
    postgres.pause().unwrap();
    let unready = async || client.status("/readyz").await == 503;
    until("it is not ready", Duration::from_secs(5), unready).await;
    assert_eq!(client.status("/livez").await, 200);
    postgres.resume().unwrap();
    client.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_partition_is_named_and_makes_it_unready() {
    let mut deployment = Deployment::new(1).await;
    deployment.send(&[prompt("s", 1, "2026-03-01T09:00:00Z")]).await;
    let partition = TopicPartition::new(deployment.topic(EventKind::Tool), 0);
    let store = open_store(&deployment.config());
    store.create_checkpoints(&deployment.group_id, &[(partition.clone(), NextOffset::new(1_000_000))]).await.unwrap();
    deployment.set(LISTEN, "127.0.0.1:0");
    let instance = Instance::start(&deployment, &["run"]);
    let client = Client::of(&instance).await;
    let halted = async || client.get("/readyz").await.body.contains("halted");
    until("it says that a partition is halted", PATIENCE, halted).await;
    assert_eq!(client.status("/readyz").await, 503);
    assert!(client.reasons("/readyz").await.contains(&format!("{partition} is halted")));
    assert_eq!(client.status("/livez").await, 200);
    let metrics = super::exposition::parse(&client.get("/metrics").await.body);
    let labels = format!("{{topic=\"{}\",partition=\"0\"}}", partition.topic);
    assert_eq!(metrics["sessionfold_partition_halted"].samples[&labels], 1.0);
}

/// Every name and every value.
pub fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            found.push(name.clone());
            texts(member, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::String(text) => found.push(text.clone()),
        other => found.push(other.to_string()),
    }
}

/// Also when everything that has a secret fails: the errors are in the answer then.
#[tokio::test(flavor = "multi_thread")]
async fn health_tells_each_component_and_never_a_secret() {
    const PASSWORD: &str = "hunter2hunter2hunter2";
    let mut postgres = Postgres::start(&Options::default()).await.unwrap();
    let mut deployment = watchful(&postgres.url()).await;
    let role = format!("CREATE ROLE operator SUPERUSER LOGIN PASSWORD '{PASSWORD}'");
    deployment.connect().await.execute(AssertSqlSafe(role)).await.unwrap();
    let (_, server) = deployment.url.rsplit_once('@').unwrap();
    deployment.set("SESSIONFOLD_POSTGRES__URL", &format!("postgres://operator:{PASSWORD}@{server}"));
    deployment.set(TOKEN, PASSWORD);
    with_topic(&mut deployment).await;
    deployment.set(LISTEN, "127.0.0.1:0");
    let instance = Instance::start(&deployment, &["run"]);
    let client = Client { token: Some(PASSWORD.to_owned()), ..Client::of(&instance).await };
    client.until_ready().await;
    let ended = async || {
        let health = client.get("/healthz").await.json();
        ["sweep", "outbox"].iter().all(|part| health["components"][part]["connected"] == true)
    };
    until("a round of the sweep and of the publisher has ended", PATIENCE, ended).await;
    let well = client.get("/healthz").await.json();
    postgres.crash().await;
    let failed = async || {
        let health = client.get("/healthz").await.json();
        let components = &health["components"];
        ["sweep", "outbox", "postgres"].iter().all(|name| components[name]["last_error"].is_string())
    };
    until("the sweep, the publisher and the probe have failed", PATIENCE, failed).await;
    let ill = client.get("/healthz").await.json();
    assert_eq!((&well["status"], &ill["status"]), (&"ready".into(), &"not ready".into()));
    for health in [well, ill] {
        let components = health["components"].as_object().unwrap();
        let names: Vec<&str> = components.keys().map(String::as_str).collect();
        assert_eq!(names, ["breaker", "broker", "consumer", "outbox", "postgres", "retention", "sweep"]);
        assert_eq!(components["consumer"]["partitions"].as_array().unwrap().len(), 8, "{health}");
        assert!(components["broker"]["last_check_at"].is_string() && components["broker"]["connected"] == true);
        let mut found = Vec::new();
        texts(&health, &mut found);
        assert!(found.len() > 80);
        assert!(found.iter().all(|text| !text.contains("hunter2")), "{health}");
    }
    assert!(!instance.log().contains("hunter2"));
}
