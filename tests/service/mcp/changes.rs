//! What changed since: nothing is left out, whatever becomes visible when.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Connection;

use crate::{
    deployment::Deployment,
    http::ready,
    program::until,
    records::{prompt, started},
};

use super::agent::Agent;

const PATIENCE: Duration = Duration::from_secs(90);

fn told(answer: &Value) -> Vec<&str> {
    answer["sessions"].as_array().unwrap().iter().map(|row| row["session_id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_becomes_visible_late_is_told_although_it_is_earlier_than_what_was_told() {
    let mut deployment = Deployment::new(1).await;
    deployment.send(&[started("a", 1, "2026-03-01T09:00:00Z"), started("b", 2, "2026-03-01T09:00:00Z")]).await;
    deployment.drain().await;
    deployment.set("SESSIONFOLD_AGGREGATOR__INACTIVITY_TIMEOUT", "3650d");
    let (_instance, client) = ready(&mut deployment).await;
    let agent = Agent(&client);
    let all = agent.answer("changed_since", json!({"since": "2026-01-01T00:00:00Z"})).await;
    assert_eq!((told(&all), &all["more"]), (vec!["a", "b"], &json!(false)));
    let nothing = until_nothing_is_told(&agent, &all).await;

    // As a writer does that takes long: its rows have the time at which it began.
    const CHANGE: &str = "UPDATE sessions SET version = version + 1, updated_at = now() WHERE session_id = $1";
    let (mut slow, mut fast) = (deployment.connect().await, deployment.connect().await);
    let mut transaction = slow.begin().await.unwrap();
    sqlx::query(CHANGE).bind("a").execute(&mut *transaction).await.unwrap();
    sqlx::query(CHANGE).bind("b").execute(&mut fast).await.unwrap();
    let first = agent.answer("changed_since", json!({"after": nothing["next"]})).await;
    assert_eq!(told(&first), ["b"]);
    transaction.commit().await.unwrap();
    let second = agent.answer("changed_since", json!({"after": first["next"]})).await;
    // `b` was visible before, but can't be told from what wasn't.
    assert_eq!(told(&second), ["a", "b"]);
    assert!(second["sessions"][0]["updated_at"].as_str() < first["sessions"][0]["updated_at"].as_str());
    until_nothing_is_told(&agent, &second).await;
}

/// Other tests write in this Postgres, too, and what they have under way is a reason to tell again.
async fn until_nothing_is_told(agent: &Agent<'_>, answer: &Value) -> Value {
    let mut answer = answer.clone();
    until("all was told", PATIENCE, async || {
        answer = agent.answer("changed_since", json!({"after": answer["next"]})).await;
        told(&answer).is_empty()
    })
    .await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_tell_every_session_once_and_a_position_in_other_tables_is_refused() {
    let mut deployment = Deployment::new(1).await;
    let records: Vec<_> = (1..=9).map(|id| prompt(&format!("s{id}"), id, "2026-03-01T09:00:00Z")).collect();
    deployment.send(&records).await;
    deployment.drain().await;
    deployment.set("SESSIONFOLD_AGGREGATOR__INACTIVITY_TIMEOUT", "3650d");
    let (_instance, client) = ready(&mut deployment).await;
    let agent = Agent(&client);
    let mut arguments = json!({"since": "2026-01-01T00:00:00Z", "limit": 2, "last_event_from": "2026-03-01T00:00:00Z"});
    let mut all = Vec::new();
    loop {
        let answer = agent.answer("changed_since", arguments.clone()).await;
        all.extend(told(&answer).into_iter().map(str::to_owned));
        arguments["after"] = answer["next"].clone();
        arguments.as_object_mut().unwrap().remove("since");
        if answer["more"] == false {
            break;
        }
    }
    assert_eq!(all, (1..=9).map(|id| format!("s{id}")).collect::<Vec<_>>());
    let none = json!({"since": "2026-01-01T00:00:00Z", "last_event_from": "2026-03-02T00:00:00Z"});
    assert!(told(&agent.answer("changed_since", none).await).is_empty());

    let rebuilt = "UPDATE generation SET id = gen_random_uuid()";
    sqlx::query(rebuilt).execute(&mut deployment.connect().await).await.unwrap();
    let refusal = agent.refusal("changed_since", json!({"after": arguments["after"]})).await;
    assert!(refusal.contains("other tables") && refusal.contains("begin with"), "{refusal}");
}
