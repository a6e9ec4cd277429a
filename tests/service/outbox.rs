//! Changes of status are published: each, in order by session, and nothing else.

mod broker;
mod crashes;
mod promotion;
mod refusals;
mod topic;

use std::time::Duration;

use sessionfold::stream::create_topics;
use sqlx::{Executor, PgConnection};

use crate::{
    deployment::Deployment,
    faults_of_setup::assert_refused,
    program::{Instance, run, until},
    records::{ended, prompt, started},
};

use topic::{messages, ordered_by_session};

const PATIENCE: Duration = Duration::from_secs(90);
const TOPIC: &str = "SESSIONFOLD_OUTBOX__TOPIC";

/// Names a topic for the deployment's transitions, and makes it.
pub async fn with_topic(deployment: &mut Deployment) -> String {
    let topic = format!("{}.transitions", deployment.group_id);
    create_topics(&deployment.config().kafka, std::slice::from_ref(&topic), 3).await.unwrap();
    deployment.set(TOPIC, &topic);
    deployment.set("SESSIONFOLD_OUTBOX__INTERVAL", "50ms");
    topic
}

/// Rows as a batch writes them: of so many sessions, so many changes each, the last versions first.
async fn insert(connection: &mut PgConnection, prefix: &str, sessions: i32, versions: i64) {
    let insert = "INSERT INTO sessionfold.transitions (id, session_id, session_version, to_status, cause, payload)
        SELECT gen_random_uuid(), s, v, 'active', 'event',
            jsonb_build_object('session_id', s, 'session_version', v, 'to_status', 'active')
        FROM generate_series(1, $2) AS n, generate_series(1, $3) AS v, LATERAL (SELECT $1 || '-' || n) AS x(s)
        ORDER BY v DESC";
    sqlx::query(insert).bind(prefix).bind(sessions).bind(versions).execute(connection).await.unwrap();
}

async fn count(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

const UNPUBLISHED: &str =
    "SELECT count(*) FROM sessionfold.transitions WHERE published_at IS NULL AND NOT withheld AND set_aside_at IS NULL";

async fn until_published(connection: &mut PgConnection) {
    until("all is published", PATIENCE, async || count(connection, UNPUBLISHED).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_status_is_a_message_with_its_session_as_key_and_its_id() {
    let mut deployment = Deployment::new(1).await;
    let topic = with_topic(&mut deployment).await;
    let mut connection = deployment.connect().await;
    let mut instance = Instance::start(&deployment, &["run"]);
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z"), prompt("s", 2, "2026-03-01T09:00:01Z")]).await;
    let written = async || count(&mut connection, "SELECT count(*) FROM transitions").await == 1;
    until("the session is active", PATIENCE, written).await;
    deployment.send(&[ended("s", 3, "2026-03-01T09:05:00Z")]).await;
    let published = "SELECT count(*) FROM transitions WHERE published_at IS NOT NULL AND next_attempt_at IS NULL
        AND attempts = 0 AND last_error IS NULL";
    until("both are marked", PATIENCE, async || count(&mut connection, published).await == 2).await;
    instance.stop().await;

    let found = messages(&deployment, &topic);
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT id::text, (payload || jsonb_build_object('id', id, 'occurred_at', to_char(
            occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')))::text
         FROM transitions ORDER BY session_version",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(found.len(), 2);
    for (message, (id, value)) in found.iter().zip(rows) {
        assert_eq!((message.key.as_str(), message.headers["id"].as_str()), ("s", id.as_str()));
        assert_eq!(message.value, serde_json::from_str::<serde_json::Value>(&value).unwrap());
        assert_eq!(message.headers["session_version"], message.value["session_version"].to_string());
        assert!(message.value["occurred_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().is_ok());
    }
    let statuses: Vec<_> = found.iter().map(|message| message.value["to_status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["active", "ended"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn withheld_transitions_are_never_sent_and_a_long_session_is_sent_in_order() {
    let mut deployment = Deployment::new(1).await;
    let topic = with_topic(&mut deployment).await;
    deployment.set("SESSIONFOLD_OUTBOX__BATCH", "7");
    let mut connection = deployment.connect().await;
    insert(&mut connection, "withheld", 20, 2).await;
    connection.execute("UPDATE transitions SET withheld = true").await.unwrap();
    insert(&mut connection, "short", 50, 3).await;
    insert(&mut connection, "long", 1, 100).await;
    let mut instance = Instance::start(&deployment, &["run"]);
    until_published(&mut connection).await;
    instance.stop().await;
    let found = messages(&deployment, &topic);
    assert_eq!(found.len(), 250);
    assert_eq!(ordered_by_session(&found).len(), 250);
    assert!(found.iter().all(|message| !message.key.starts_with("withheld")));
    let left = "SELECT count(*) FROM transitions WHERE withheld AND published_at IS NULL AND attempts = 0";
    assert_eq!(count(&mut connection, left).await, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_or_read_is_told_before_the_start() {
    let mut deployment = Deployment::new(1).await;
    deployment.set(TOPIC, "nobody.made.this");
    let check = run(&deployment, &["check"]);
    let printed = String::from_utf8(check.stdout).unwrap();
    assert!(printed.contains("FAILED outbox") && printed.contains("nobody.made.this doesn't exist"), "{printed}");
    assert_refused(&run(&deployment, &["run"]), 1, &["nobody.made.this", "outbox.topic"]);
    let topic = with_topic(&mut deployment).await;
    let printed = String::from_utf8(run(&deployment, &["check"]).stdout).unwrap();
    assert!(printed.contains(&format!("topic {topic} with 3 partitions, acks all")), "{printed}");
    deployment.set(TOPIC, &deployment.topics[0].clone());
    assert_refused(&run(&deployment, &["run"]), 2, &["outbox.topic", "kafka.topics"]);
}

/// A drain reads what there is and ends; it doesn't publish.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_leaves_transitions_to_those_who_run() {
    let mut deployment = Deployment::new(1).await;
    let topic = with_topic(&mut deployment).await;
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z")]).await;
    assert!(run(&deployment, &["run", "--drain"]).status.success());
    assert_eq!(count(&mut deployment.connect().await, UNPUBLISHED).await, 1);
    assert!(messages(&deployment, &topic).is_empty());
}
