//! Parts that are killed and frozen in turn, under work.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    crashes::until_committed,
    deployment::Deployment,
    expected::Expected,
    guarantees::records,
    outage::watchful,
    program::{Instance, until},
    tables::assert_tables_equal,
};

use super::{
    client::{Answer, Client, PATIENCE},
    exposition, ready,
};

const PARTS: [&str; 7] = ["consumer", "sweep", "retention", "outbox", "dependencies", "health", "http"];

async fn sabotage(client: &Client, part: &str, what: &str) {
    let host = client.address;
    let answer = post(client, &format!("POST /debug/parts/{part}/{what} HTTP/1.1\r\nHost: {host}\r\n")).await;
    assert_eq!(answer.status, 202, "{part}: {}", answer.body);
}

async fn post(client: &Client, head: &str) -> Answer {
    client.send(&format!("{head}Content-Length: 0\r\n")).await
}

async fn part(client: &Client, name: &str) -> Value {
    client.get("/healthz").await.json()["parts"][name].clone()
}

/// What it conserves: also what was in hand when a consumer was killed.
async fn assert_conserved(client: &Client) {
    let metrics = exposition::parse(&client.get("/metrics").await.body);
    let sum = |name: &str| metrics[&format!("sessionfold_records_{name}")].samples.values().sum::<f64>();
    let fates = ["applied_total", "duplicate_total", "ignored_total", "rejected_total", "dead_letter_total"];
    let known = fates.into_iter().map(sum).sum::<f64>() + sum("discarded_total") + sum("in_hand");
    assert_eq!(sum("read_total"), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_that_is_killed_under_work_is_begun_anew_and_nothing_is_lost() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_AGGREGATOR__INACTIVITY_TIMEOUT", "3650d");
    let sent = records(7_000, 71);
    let (mut instance, client) = ready(&mut deployment).await;
    let mut connection = deployment.connect().await;
    let each = sent.len() / PARTS.len();
    for (number, (name, portion)) in PARTS.into_iter().zip(sent.chunks(each)).enumerate() {
        deployment.send(portion).await;
        sabotage(&client, name, "kill").await;
        let again = async || {
            // Whatever was killed: the address stays, and the program needn't be started again.
            assert_eq!(client.status("/livez").await, 200, "{name}: {}", client.get("/livez").await.body);
            let part = part(&client, name).await;
            part["restarts"] == 1 && part["state"] == "up"
        };
        until(&format!("{name} is begun anew"), PATIENCE, again).await;
        assert!(part(&client, name).await["last_error"].as_str().unwrap().contains("panicked"));
        if name == "consumer" {
            until("its group has to take it in again", PATIENCE, async || instance.said("partitions assigned") > 1)
                .await;
        }
        until_committed(&mut connection, (number + 1) * each).await;
        client.until_ready().await;
        assert_conserved(&client).await;
    }
    assert_eq!(client.get("/healthz").await.json()["restarts"], PARTS.len());
    instance.stop().await;
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_that_freezes_counts_as_down_and_is_begun_anew() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_AGGREGATOR__INACTIVITY_TIMEOUT", "3650d");
    deployment.set("SESSIONFOLD_SUPERVISOR__PROBE_TIMEOUT", "3s");
    let sent = records(7_000, 72);
    let (mut instance, client) = ready(&mut deployment).await;
    let mut connection = deployment.connect().await;
    let each = sent.len() / PARTS.len();
    for (number, (name, portion)) in PARTS.into_iter().zip(sent.chunks(each)).enumerate() {
        sabotage(&client, name, "freeze").await;
        deployment.send(portion).await;
        if name == "http" {
            // Who asks meanwhile waits, and isn't refused.
            assert_eq!(client.status("/livez").await, 200);
        } else {
            let down = async || part(&client, name).await["state"] == "down";
            until(&format!("{name} counts as down"), PATIENCE, down).await;
            assert_eq!(client.status("/livez").await, 200);
            let readiness = if name == "consumer" { 503 } else { 200 };
            assert_eq!(client.status("/readyz").await, readiness, "{name}: {}", client.get("/readyz").await.body);
        }
        let again = async || {
            let part = part(&client, name).await;
            part["restarts"] == 1 && part["state"] == "up"
        };
        until(&format!("{name} is begun anew"), PATIENCE, again).await;
        until_committed(&mut connection, (number + 1) * each).await;
        client.until_ready().await;
        assert_conserved(&client).await;
    }
    instance.stop().await;
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_with_exit_code_1_and_the_count_once_the_budget_is_spent() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_SUPERVISOR__MAX_RESTARTS", "2");
    let (mut instance, client) = ready(&mut deployment).await;
    for restarts in 1..=2 {
        sabotage(&client, "sweep", "kill").await;
        let again = async || {
            let part = part(&client, "sweep").await;
            part["restarts"] == restarts && part["state"] == "up"
        };
        until("the sweep is begun anew", PATIENCE, again).await;
    }
    sabotage(&client, "retention", "kill").await;
    assert_eq!(instance.wait(PATIENCE).await.code(), Some(1));
    let log = instance.log();
    let last = log.lines().last().unwrap();
    assert!(last.contains("retention was to be started again") && last.contains("2 times within 86400s"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_a_frozen_part_ends_by_force_within_a_second_after_its_time_to_stop() {
    let postgres = sessionfold::devstack::Postgres::start(&sessionfold::devstack::Options::default()).await.unwrap();
    let mut deployment = watchful(&postgres.url()).await;
    deployment.set("SESSIONFOLD_SHUTDOWN__TIMEOUT", "2s");
    let (mut instance, client): (Instance, Client) = ready(&mut deployment).await;
    sabotage(&client, "consumer", "freeze").await;
    let asked = Instant::now();
    instance.terminate();
    let status = instance.wait(Duration::from_secs(10)).await;
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{}", instance.log());
    assert!(instance.log().contains("not everything that was read could be committed in time"), "{}", instance.log());
    // Two seconds in good order, one by force, and some for a busy machine.
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(5), "{took:?}");
}
