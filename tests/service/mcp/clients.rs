//! Clients that are not ours: the official Python SDK, and the MCP inspector's command line. `scripts/mcp_clients.sh`
//! installs both, and `make test` runs it.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};
use uuid::Uuid;

use crate::{
    deployment::Deployment,
    http::{
        LISTEN, TOKEN,
        client::{Client, PATIENCE},
    },
    program::{Instance, until},
    records::{ended, prompt, record, started, tool},
};
use sessionfold::event::EventKind;

use super::TOOLS;

const SECRET: &str = "0123456789abcdef";
const PROGRAM: &str = env!("CARGO_BIN_EXE_sessionfold");
/// Leaves out what runs on node, where it is known that there is none.
const WITHOUT_NODE: &str = "SESSIONFOLD_TEST_WITHOUT_NODE";

/// What `scripts/mcp_clients.sh` has installed.
fn installed(path: &str) -> String {
    let path = format!("{}/target/mcp/{path}", env!("CARGO_MANIFEST_DIR"));
    assert!(Path::new(&path).exists(), "{path} is missing: run scripts/mcp_clients.sh, as `make test` does");
    path
}

/// A session with one failure, all of it in the tables.
async fn deployment() -> Deployment {
    let deployment = Deployment::new(1).await;
    let failed = json!({"tool_name": "Bash", "success": false, "duration_ms": 40, "summary": "exit 1"});
    deployment
        .send(&[
            started("s", 1, "2026-03-01T09:00:00Z"),
            prompt("s", 2, "2026-03-01T09:00:05Z"),
            record(EventKind::Tool, "s", 3, "2026-03-01T09:00:10Z", failed),
            tool("s", 4, "2026-03-01T09:00:20Z", "Edit"),
            ended("s", 5, "2026-03-01T09:01:00Z"),
        ])
        .await;
    deployment.drain().await;
    deployment
}

/// Each tool once.
fn calls(correlation_id: Uuid) -> Value {
    let range = json!({"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"});
    let arguments = [
        json!({"status": ["ended"], "under": "/"}),
        json!({"session_id": "s"}),
        json!({"session_id": "s", "limit": 3}),
        range.clone(),
        range,
        json!({"since": "2026-01-01T00:00:00Z"}),
        json!({}),
    ];
    let call = |(name, arguments): (&str, Value)| json!({"name": name, "arguments": arguments, "meta": {"correlation_id": correlation_id}});
    TOOLS.into_iter().zip(arguments).map(call).collect()
}

/// What the calls above must come to.
fn assert_answered(told: &Value, correlation_id: Uuid) {
    let names: Vec<&str> =
        told["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, TOOLS);
    assert_eq!(told["server"]["serverInfo"]["name"], "sessionfold");
    let results = told["results"].as_array().unwrap();
    for result in results {
        assert_eq!((&result["isError"], &result["_meta"]["correlation_id"]), (&json!(false), &json!(correlation_id)));
        assert!(result["structuredContent"]["freshness"]["last_event_at"].is_string(), "{result}");
    }
    let [found, session, timeline, usage, failures, changed, health] =
        std::array::from_fn(|index| &results[index]["structuredContent"]);
    assert_eq!(found["sessions"][0]["session_id"], "s");
    assert_eq!((&session["session"]["tool_count"], &session["session"]["status"]), (&json!(2), &json!("ended")));
    assert!(timeline["entries"].as_array().unwrap().len() == 3 && timeline["next"].is_string());
    assert_eq!((&usage["tools"][0]["tool_name"], &usage["tools"][0]["p95_ms"]), (&json!("Bash"), &json!(40)));
    assert_eq!(failures["failures"][0]["summary"], "exit 1");
    assert_eq!((&changed["sessions"][0]["session_id"], &changed["more"]), (&json!("s"), &json!(false)));
    assert_eq!((&health["halted_partitions"], &health["freshness"]["lag"]), (&json!(0), &json!(0)), "{health}");
}

/// Runs a client with the settings of a deployment.
fn run(mut command: Command, deployment: &Deployment, input: &Value) -> Output {
    command.env_remove("SESSIONFOLD_POSTGRES__URL").envs(deployment.settings.iter().map(|(name, value)| (name, value)));
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

fn by_sdk(target: &[&str], deployment: &Deployment, calls: &Value) -> Value {
    let mut command = Command::new(installed("venv/bin/python"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/client.py")).args(target).env("TOKEN", SECRET);
    let output = run(command, deployment, calls);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An instance that has told how far behind it is.
async fn caught_up(deployment: &mut Deployment) -> (Instance, Client) {
    deployment.set(LISTEN, "127.0.0.1:0");
    deployment.set(TOKEN, SECRET);
    let instance = Instance::start(deployment, &["run"]);
    let client = Client { token: Some(SECRET.to_owned()), ..Client::of(&instance).await };
    client.until_ready().await;
    let known = async || client.get("/healthz").await.json()["components"]["consumer"]["lag"] == 0;
    until("it knows its lag", PATIENCE, known).await;
    (instance, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_lists_and_calls_each_tool_over_http() {
    let mut deployment = deployment().await;
    let (_instance, client) = caught_up(&mut deployment).await;
    let id = Uuid::now_v7();
    let told = by_sdk(&[&format!("http://{}/mcp", client.address)], &deployment, &calls(id));
    assert_answered(&told, id);
    assert_eq!(told["results"][6]["structuredContent"]["seen_by"], "consumer");
}

/// By a role that may do no more than read: a tool that wrote would fail.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_lists_and_calls_each_tool_on_standard_input_and_output_with_the_right_to_read() {
    let mut deployment = deployment().await;
    let role = format!("reader_{}", deployment.group_id.replace('-', "_"));
    for statement in [
        format!("CREATE ROLE {role} LOGIN PASSWORD 'p'"),
        format!("GRANT USAGE ON SCHEMA sessionfold TO {role}"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA sessionfold TO {role}"),
    ] {
        deployment.connect().await.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let (_, host) = deployment.url.rsplit_once('@').unwrap();
    deployment.set("SESSIONFOLD_POSTGRES__URL", &format!("postgres://{role}:p@{host}"));
    let id = Uuid::now_v7();
    let told = by_sdk(&[PROGRAM, "mcp"], &deployment, &calls(id));
    assert_answered(&told, id);
    let health = &told["results"][6]["structuredContent"];
    assert_eq!((&health["seen_by"], &health["freshness"]["lag_of"]), (&json!("tables"), &json!("group")));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_it_answers_on_standard_input_and_output_and_says_that_the_lag_is_unknown() {
    let mut deployment = deployment().await;
    deployment.set("SESSIONFOLD_KAFKA__BROKERS", "127.0.0.1:1");
    let told = by_sdk(&[PROGRAM, "mcp"], &deployment, &json!([{"name": "find_sessions"}]));
    let freshness = &told["results"][0]["structuredContent"]["freshness"];
    assert_eq!(freshness["lag"], Value::Null, "{told}");
    assert!(freshness["last_event_at"].is_string());
}

fn by_inspector(target: &[&str], deployment: &Deployment) -> Value {
    let mut command = Command::new("node");
    command.arg(installed("node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"));
    // It keeps files in its user's home.
    command.arg("--cli").args(target).env("HOME", installed(""));
    let output = run(command, deployment, &Value::Null);
    let printed = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{target:?}: {error}{printed}");
    serde_json::from_str(&printed).unwrap_or_else(|why| panic!("{why}: {printed}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_lists_and_calls_each_tool_over_http_and_on_standard_input_and_output() {
    if std::env::var_os(WITHOUT_NODE).is_some() {
        return;
    }
    let node = Command::new("node").arg("--version").output();
    assert!(node.is_ok(), "node is missing: install it (apt-get install nodejs npm); {WITHOUT_NODE}=1 goes without");
    let mut deployment = deployment().await;
    let (_instance, client) = caught_up(&mut deployment).await;
    let (url, header) = (format!("http://{}/mcp", client.address), format!("Authorization: Bearer {SECRET}"));
    let over_http = [url.as_str(), "--transport", "http", "--header", header.as_str()];
    // It hands none of its own environment on.
    let settings: Vec<String> = deployment.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let as_program: Vec<&str> =
        settings.iter().flat_map(|setting| ["-e", setting.as_str()]).chain([PROGRAM, "mcp"]).collect();
    let listed = by_inspector(&[&over_http[..], &["--method", "tools/list"]].concat(), &deployment);
    assert_eq!(listed["tools"].as_array().unwrap().len(), TOOLS.len());
    for call in calls(Uuid::nil()).as_array().unwrap() {
        let name = call["name"].as_str().unwrap();
        let arguments = call["arguments"].to_string();
        let asked = ["--method", "tools/call", "--tool-name", name, "--tool-args-json", arguments.as_str()];
        let told = by_inspector(&[&over_http[..], &asked].concat(), &deployment);
        assert!(told["structuredContent"]["freshness"].is_object(), "{name}: {told}");
        let told = by_inspector(&[&as_program[..], &asked].concat(), &deployment);
        assert!(told["structuredContent"]["freshness"].is_object(), "{name}: {told}");
    }
}
