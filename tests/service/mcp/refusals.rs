//! Calls without an answer.

use std::time::{Duration, Instant};

use serde_json::json;
use sessionfold::devstack::{Options, Postgres};
use sqlx::Executor;

use crate::{
    deployment::Deployment,
    http::{client::PATIENCE, ready},
    outage::watchful,
    program::until,
};

use super::agent::Agent;

#[tokio::test(flavor = "multi_thread")]
async fn arguments_outside_their_limits_are_refused_in_words() {
    let (_instance, client) = ready(&mut Deployment::new(1).await).await;
    let agent = Agent(&client);
    let long_ago = json!({"from": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"});
    for (tool, arguments, words) in [
        ("find_sessions", json!({"limit": 101}), "1 to 100"),
        ("find_sessions", json!({"limit": 0}), "1 to 100"),
        ("find_sessions", json!({"query": "SELECT 1"}), "unknown field"),
        ("find_sessions", json!({"after": "x"}), "after: "),
        ("find_sessions", json!({"directory": "/", "under": "/"}), "not together"),
        ("find_sessions", json!({"branch": "a\u{0}"}), "U+0000"),
        ("get_session", json!({}), "session_id"),
        ("get_session", json!({"session_id": ""}), "1 to 255"),
        ("get_session", json!({"session_id": "none"}), "no such session"),
        ("get_timeline", json!({"session_id": "none"}), "no such session"),
        ("tool_usage", long_ago.clone(), "31 days"),
        ("failures", long_ago, "31 days"),
        ("failures", json!({"from": "now"}), "2026-03-01T09:00:00"),
        ("changed_since", json!({}), "one of the two"),
        ("changed_since", json!({"since": "2026-01-01T00:00:00Z", "after": "e30"}), "after: "),
        ("pipeline_health", json!({"limit": -1}), "u16"),
    ] {
        let refusal = agent.refusal(tool, arguments.clone()).await;
        assert!(refusal.contains(words), "{tool} {arguments}: {refusal}");
    }
    // A position in one list is none in another.
    let health = agent.answer("changed_since", json!({"since": "2026-01-01T00:00:00Z"})).await;
    agent.refusal("failures", json!({"after": health["next"]})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_says_so_and_the_next_one_is_answered() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_MCP__TIMEOUT", "500ms");
    let (_instance, client) = ready(&mut deployment).await;
    let agent = Agent(&client);
    agent.answer("find_sessions", json!({})).await;
    let mut other = deployment.connect().await;
    other.execute("BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let asked = Instant::now();
    let refusal = agent.refusal("find_sessions", json!({})).await;
    assert!(refusal.contains("mcp.timeout"), "{refusal}");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    other.execute("ROLLBACK").await.unwrap();
    let answered = async || agent.call("find_sessions", json!({})).await["isError"] == false;
    until("it is answered", PATIENCE, answered).await;
    let metrics = client.get("/metrics").await.body;
    assert!(metrics.contains("sessionfold_mcp_calls_total{tool=\"find_sessions\",outcome=\"timeout\"} "));
    assert!(!metrics.contains("sessionfold_mcp_calls_total{tool=\"find_sessions\",outcome=\"timeout\"} 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_away_a_call_says_when_to_come_back() {
    let mut postgres = Postgres::start(&Options::default()).await.unwrap();
    let mut deployment = watchful(&postgres.url()).await;
    let (mut instance, client) = ready(&mut deployment).await;
    let agent = Agent(&client);
    agent.answer("find_sessions", json!({})).await;
    postgres.crash().await;
    for tool in ["find_sessions", "pipeline_health", "failures"] {
        let refusal = agent.refusal(tool, json!({})).await;
        assert!(refusal.contains("ask again in "), "{tool}: {refusal}");
    }
    assert_eq!(client.get("/mcp/tools").await.status, 200);
    postgres.start_again(&[]).await.unwrap();
    let answered = async || agent.call("find_sessions", json!({})).await["isError"] == false;
    until("it is answered", PATIENCE, answered).await;
    instance.stop().await;
}
