//! A record that the brokers refuse is tried again, set aside, and set free by an operator; the others go on.

use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey as Request, RDKafkaRespErr as Answer},
};
use serde_json::Value;
use sqlx::Executor;

use crate::{
    deployment::Deployment,
    program::{Instance, run, until},
};

use super::{PATIENCE, TOPIC, count, insert, topic::messages, until_published, with_topic};

const MAX_BYTES: &str = "SESSIONFOLD_KAFKA__CLIENT__MESSAGE_MAX_BYTES";

#[track_caller]
fn transitions(deployment: &Deployment, arguments: &[&str]) -> Value {
    let output = run(deployment, &[&["transitions"], arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transition_that_is_too_large_is_set_aside_its_session_goes_on_and_it_can_be_sent_again() {
    let mut deployment = Deployment::new(1).await;
    let topic = with_topic(&mut deployment).await;
    deployment.set(MAX_BYTES, "2000");
    deployment.set("SESSIONFOLD_OUTBOX__MAX_ATTEMPTS", "2");
    deployment.set("SESSIONFOLD_RETENTION__TRANSITIONS", "1ms");
    let mut connection = deployment.connect().await;
    insert(&mut connection, "other", 30, 2).await;
    insert(&mut connection, "s", 1, 3).await;
    let pad = "UPDATE transitions SET payload = payload || jsonb_build_object('pad', repeat('hunter2', 1000))
        WHERE session_id = 's-1' AND session_version = 2";
    connection.execute(pad).await.unwrap();
    let mut instance = Instance::start(&deployment, &["run"]);
    let refused = "SELECT count(*) FROM transitions WHERE attempts = 1 AND next_attempt_at > now()
        AND set_aside_at IS NULL";
    until("it waits after the first refusal", PATIENCE, async || count(&mut connection, refused).await == 1).await;
    let third = "SELECT count(*) FROM transitions WHERE session_id = 's-1' AND session_version = 3
        AND published_at IS NULL";
    assert_eq!(count(&mut connection, third).await, 1, "the later one waits");
    until_published(&mut connection).await;
    assert_eq!(instance.said("a transition was set aside"), 1);
    assert!(!instance.log().contains("hunter2"));
    instance.stop().await;
    assert_eq!(messages(&deployment, &topic).len(), 62);

    let listed = transitions(&deployment, &["list"]);
    assert_eq!((&listed["set_aside_count"], &listed["waiting_count"]), (&1.into(), &0.into()));
    let entry = &listed["set_aside"][0];
    assert_eq!((&entry["session_version"], &entry["attempts"]), (&2.into(), &2.into()));
    let error = entry["last_error"].as_str().unwrap();
    assert!(error.contains("MessageSizeTooLarge") && error.contains("bytes"), "{error}");
    assert!(!error.contains("hunter2") && error.chars().count() <= 1_000);

    // What nobody has dealt with stays, whatever the age.
    assert!(run(&deployment, &["retention", "--yes"]).status.success());
    assert_eq!(count(&mut connection, "SELECT count(*) FROM transitions").await, 1);
    let unasked = run(&deployment, &["transitions", "retry"]);
    assert_eq!(unasked.status.code(), Some(2));
    assert_eq!(transitions(&deployment, &["retry", "--yes", "--session", "another"])["retried"], 0);
    assert_eq!(transitions(&deployment, &["retry", "--yes", "--session", "s-1"])["retried"], 1);
    assert_eq!(transitions(&deployment, &["list"])["waiting_count"], 1);
    deployment.set(MAX_BYTES, "100000");
    deployment.set("SESSIONFOLD_RETENTION__TRANSITIONS", "forever");
    let mut instance = Instance::start(&deployment, &["run"]);
    until_published(&mut connection).await;
    instance.stop().await;
    let found = messages(&deployment, &topic);
    let versions: Vec<i64> = found
        .iter()
        .filter(|message| message.key == "s-1")
        .map(|message| message.value["session_version"].as_i64().unwrap())
        .collect();
    assert_eq!(versions, [1, 3, 2]);
}

/// A broker refuses a batch as a whole; the records in it are blamed only when they are refused alone.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_batch_that_is_refused_are_sent_alone_and_not_blamed() {
    let cluster = MockCluster::new(1).unwrap();
    let mut deployment = Deployment::without_topics(&cluster.bootstrap_servers()).await;
    for topic in deployment.topics.iter().map(String::as_str).chain(["transitions"]) {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    deployment.set(TOPIC, "transitions");
    // So that all of the round are one batch.
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__LINGER_MS", "200");
    let mut connection = deployment.connect().await;
    insert(&mut connection, "s", 10, 1).await;
    cluster.request_errors(Request::Produce, &[Answer::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let mut instance = Instance::start(&deployment, &["run"]);
    until_published(&mut connection).await;
    assert_eq!(count(&mut connection, "SELECT sum(attempts) FROM transitions").await, 0);
    assert_eq!(messages(&deployment, "transitions").len(), 10);
    // One that is refused alone is blamed, and tried again.
    cluster.request_errors(Request::Produce, &[Answer::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    insert(&mut connection, "later", 1, 1).await;
    until_published(&mut connection).await;
    assert_eq!(count(&mut connection, "SELECT sum(attempts) FROM transitions").await, 1);
    assert_eq!(messages(&deployment, "transitions").len(), 11);
    instance.stop().await;
}
