//! The protocol over HTTP: who may ask, what is offered, and what an answer carries.

use serde_json::{Value, json};
use sessionfold::event::EventKind;
use uuid::Uuid;

use crate::{
    deployment::Deployment,
    http::{
        LISTEN, TOKEN,
        client::{Client, PATIENCE},
        ready,
    },
    program::{Instance, until},
    records::{record, started, tool},
};

use super::{TOOLS, agent::Agent};

fn names(tools: &Value) -> Vec<&str> {
    tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tools_are_listed_by_the_protocol_and_as_json() {
    let (_instance, client) = ready(&mut Deployment::new(1).await).await;
    let agent = Agent(&client);
    let listed = agent.result("tools/list", json!({})).await["result"]["tools"].take();
    assert_eq!(names(&listed), TOOLS);
    assert_eq!(client.get("/mcp/tools").await.json()["tools"], listed);
    for tool in listed.as_array().unwrap() {
        assert_eq!(tool["annotations"]["readOnlyHint"], true);
        assert_eq!(tool["inputSchema"]["additionalProperties"], false);
        assert!(tool["outputSchema"]["properties"]["freshness"].is_object());
    }
    assert_eq!(client.status("/mcp").await, 405);
    let none = agent.result("tools/call", json!({"name": "run_sql", "arguments": {}})).await;
    assert_eq!(none["error"]["code"], -32602, "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_is_no_method() {
    let (_instance, client) = ready(&mut Deployment::new(1).await).await;
    for method in ["resources/list", "resources/templates/list", "prompts/list"] {
        let answer = Agent(&client).result(method, json!({})).await;
        assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_tools_are_offered_where_there_may_be_few() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_MCP__MAX_TOOLS", "2");
    let (instance, client) = ready(&mut deployment).await;
    let agent = Agent(&client);
    let listed = agent.result("tools/list", json!({})).await["result"]["tools"].take();
    assert_eq!(names(&listed), TOOLS[..2]);
    let left_out = agent.result("tools/call", json!({"name": TOOLS[2], "arguments": {"session_id": "s"}})).await;
    assert_eq!(left_out["error"]["code"], -32602);
    assert_eq!(instance.said("mcp.max_tools leaves tools out offered=2 known=7"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_or_under_another_name_is_refused() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_MCP__ALLOWED_HOSTS", "sessions.example.com");
    deployment.set("SESSIONFOLD_MCP__ALLOWED_ORIGINS", "https://app.example.com:443");
    // A token lets any name through elsewhere.
    deployment.set(TOKEN, "0123456789abcdef");
    let (instance, client) = {
        deployment.set(LISTEN, "127.0.0.1:0");
        let instance = Instance::start(&deployment, &["run"]);
        let client = Client::of(&instance).await;
        (instance, Client { token: Some("0123456789abcdef".to_owned()), ..client })
    };
    client.until_ready().await;
    let agent = Agent(&client);
    for (lines, status) in [
        ("Origin: https://app.example.com\r\n", 200),
        ("Host: sessions.example.com\r\n", 200),
        ("Host: localhost:1\r\n", 200),
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: http://app.example.com\r\n", 403),
        ("Host: evil.example\r\n", 403),
    ] {
        assert_eq!(agent.post("tools/list", json!({}), lines).await.status, status, "{lines}");
    }
    let stranger = Client { token: None, ..client.clone() };
    for path in ["/mcp", "/mcp/tools"] {
        stranger.get(path).await.problem(401, path);
    }
    let refused = Agent(&stranger).post("tools/list", json!({}), "").await;
    refused.problem(401, "/mcp");
    let large = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"x\":\"{}\"}}", "x".repeat(300_000));
    assert_eq!(agent.post_body(&large, "").await.status, 413);
    assert!(!instance.log().contains("0123456789abcde"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_carries_the_correlation_id_that_it_was_given_or_a_new_one() {
    let (instance, client) = ready(&mut Deployment::new(1).await).await;
    let agent = Agent(&client);
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    let call = json!({"name": "find_sessions", "arguments": {}});
    let with_meta = json!({"name": "find_sessions", "arguments": {}, "_meta": {"correlation_id": one}});
    let header = format!("X-Correlation-Id: {other}\r\n");
    for (params, lines, expected) in
        [(&with_meta, header.as_str(), Some(one)), (&call, &header, Some(other)), (&call, "", None)]
    {
        let result = agent.post("tools/call", params.clone(), lines).await.json()["result"].take();
        let told = result["_meta"]["correlation_id"].as_str().unwrap();
        assert_eq!(result["structuredContent"]["correlation_id"], told);
        assert_eq!(expected.unwrap_or_else(|| told.parse().unwrap()).to_string(), told);
        let line = format!("tool=\"find_sessions\" correlation_id={told} outcome=\"answered\"");
        until("the log has the call", PATIENCE, async || instance.said(&line) == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_texts_are_cut_and_calls_are_counted() {
    let mut deployment = Deployment::new(1).await;
    let branch = "b".repeat(2_000);
    let fields = json!({"working_directory": "/work", "hook_source": "startup", "git_branch": branch});
    let long = record(EventKind::Started, "long", 1, "2026-03-01T09:00:00Z", fields);
    deployment
        .send(&[long, started("s", 2, "2026-03-01T09:00:00Z"), tool("s", 3, "2026-03-01T09:00:01Z", "Bash")])
        .await;
    deployment.drain().await;
    let (_instance, client) = ready(&mut deployment).await;
    let agent = Agent(&client);
    let answer = agent.answer("get_session", json!({"session_id": "long"})).await;
    assert_eq!(answer["cut"], 1);
    assert_eq!(answer["session"]["git_branch"].as_str().unwrap().chars().count(), 500);
    assert_eq!(agent.answer("get_session", json!({"session_id": "s"})).await.get("cut"), None);
    agent.refusal("get_session", json!({"session_id": "none"})).await;
    let metrics = client.get("/metrics").await.body;
    for (outcome, count) in [("answered", 2), ("unknown", 1), ("error", 0)] {
        let line = format!("sessionfold_mcp_calls_total{{tool=\"get_session\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
}
