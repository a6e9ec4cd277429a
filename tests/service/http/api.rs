//! `/api/v1`: sessions, and the document that describes how to ask for them.

use std::collections::BTreeSet;

use serde_json::Value;
use sessionfold::generate::{Generator, Shape};

use crate::{
    deployment::{Deployment, MAX_VALUE_BYTES},
    records::{ended, prompt, record, started, tool},
};
use sessionfold::event::EventKind;

use super::{
    client::{Answer, Client},
    ready,
    schema::violation,
};

const SESSIONS: &str = "/api/v1/sessions";

/// Two sessions: `a/ö` has ended, with a tool that failed; `b` has no start.
async fn two_sessions(deployment: &Deployment) {
    let failed = serde_json::json!({"tool_name": "Bash", "success": false});
    deployment
        .send(&[
            started("a/ö", 1, "2026-03-01T09:00:00Z"),
            prompt("a/ö", 2, "2026-03-01T09:00:05Z"),
            record(EventKind::Tool, "a/ö", 3, "2026-03-01T09:00:10Z", failed),
            ended("a/ö", 4, "2026-03-01T09:01:00Z"),
            tool("b", 5, "2026-03-01T10:00:00Z", "Edit"),
        ])
        .await;
    deployment.drain().await;
}

async fn ids(client: &Client, path: &str) -> Vec<String> {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    let body = answer.json();
    let sessions = body["sessions"].as_array().unwrap().iter();
    sessions.map(|session| session["session_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_filtered_sorted_and_followed_page_by_page() {
    let mut deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let (_instance, client) = ready(&mut deployment).await;
    for (query, expected) in [
        ("", &["b", "a/ö"][..]),
        ("?ascending=true", &["a/ö", "b"]),
        ("?sort=events", &["a/ö", "b"]),
        ("?status=ended", &["a/ö"]),
        ("?status=ended&status=orphan", &["b", "a/ö"]),
        ("?under=%2Fwork", &["a/ö"]),
        ("?directory=/work&tool=Bash", &["a/ö"]),
        ("?from=2026-03-01T10:00:00Z", &["b"]),
        ("?to=2026-03-01T10:00:00Z", &["a/ö"]),
        ("?branch=main", &[]),
    ] {
        assert_eq!(ids(&client, &format!("{SESSIONS}{query}")).await, expected, "{query}");
    }
    let first = client.get(&format!("{SESSIONS}?limit=1&status=ended&status=orphan")).await;
    let link = first.header("link").unwrap().strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    assert!(link.ends_with(&format!("after={}", first.json()["next"].as_str().unwrap())), "{link}");
    let second = client.get(link).await;
    assert_eq!(second.json()["sessions"][0]["session_id"], "a/ö");
    assert_eq!((second.json()["next"].clone(), second.header("link")), (Value::Null, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_are_problems_that_name_the_parameter() {
    let mut deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let (_instance, client) = ready(&mut deployment).await;
    let position = client.get(&format!("{SESSIONS}?limit=1")).await.json()["next"].as_str().unwrap().to_owned();
    for (query, name) in [
        ("stat=ended".to_owned(), "stat"),
        ("status=asleep".to_owned(), "status"),
        ("limit=0".to_owned(), "limit"),
        ("limit=1&limit=2".to_owned(), "limit"),
        ("from=yesterday".to_owned(), "from"),
        ("ascending=1".to_owned(), "ascending"),
        ("after=x".to_owned(), "after"),
        (format!("after={position}&sort=events"), "after"),
        ("directory=/&under=/".to_owned(), "under"),
        ("tool=a%00b".to_owned(), "tool"),
    ] {
        let detail = client.get(&format!("{SESSIONS}?{query}")).await.problem(400, SESSIONS);
        assert!(detail.contains(&format!("parameter \"{name}\"")), "{query}: {detail}");
    }
    for (path, status) in [
        ("/api/v1/sessions/none", 404),
        ("/api/v1/sessions/none/timeline", 404),
        ("/api/v1/sessions/a?limit=1", 400),
        ("/api/v1/sessions/a%00", 400),
        ("/api/v1/sessions/%FF", 400),
        ("/api/v1/nothing", 404),
        ("/", 404),
    ] {
        client.get(path).await.problem(status, path.split('?').next().unwrap());
    }
    let host = client.address;
    for path in [SESSIONS, "/metrics", "/livez"] {
        let refused = client.send(&format!("DELETE {path} HTTP/1.1\r\nHost: {host}\r\n")).await;
        refused.problem(405, path);
        assert_eq!(refused.header("allow"), Some("GET,HEAD"));
    }
}

/// The answer is one that the document has for this path.
#[track_caller]
fn assert_documented(document: &Value, path: &str, answer: &Answer) {
    let of_status = &document["paths"][path]["get"]["responses"][answer.status.to_string()];
    let media = answer.header("content-type").unwrap();
    let schema = of_status["content"].get(media).unwrap_or_else(|| panic!("{path}: {answer:?}"));
    assert_eq!(violation(document, &schema["schema"], &answer.json()), None, "{path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_what_is_answered() {
    let mut deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let (_instance, client) = ready(&mut deployment).await;
    let answer = client.get("/api/v1/openapi.json").await;
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_documented(&document, "/api/v1/openapi.json", &answer);
    let session = "/api/v1/sessions/{session_id}";
    let timeline = "/api/v1/sessions/{session_id}/timeline";
    let paths: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths, BTreeSet::from([SESSIONS, session, timeline, "/api/v1/openapi.json"]));
    for path in [SESSIONS, session, timeline] {
        for id in ["a%2F%C3%B6", "b", "none", "%00"] {
            let question = path.replace("{session_id}", id);
            assert_documented(&document, path, &client.get(&question).await);
            assert_documented(&document, path, &client.get(&format!("{question}?unknown=1")).await);
        }
    }
    // Each documented parameter is known, with its default or its allowed values, and no value but these is.
    let (mut asked, mut first) = (0, None);
    for path in [SESSIONS, session, timeline] {
        let question = path.replace("{session_id}", "a%2F%C3%B6");
        for parameter in document["paths"][path]["get"]["parameters"].as_array().unwrap() {
            if parameter["in"] == "path" {
                continue;
            }
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            let of_items = if schema["type"] == "array" { &schema["items"] } else { schema };
            let values: Vec<String> = match (of_items["enum"].as_array(), name) {
                (Some(values), _) => values.iter().map(|value| value.as_str().unwrap().to_owned()).collect(),
                (None, "after") => {
                    let page = client.get(&format!("{question}?limit=1")).await.json();
                    vec![page["next"].as_str().unwrap().to_owned()]
                }
                (None, "from" | "to") => vec!["2026-03-01T10:00:00Z".to_owned()],
                (None, "limit") => ["default", "minimum", "maximum"].map(|limit| schema[limit].to_string()).to_vec(),
                (None, "ascending") => vec!["true".to_owned(), "false".to_owned()],
                (None, _) => vec!["x".to_owned()],
            };
            for value in values {
                let answer = client.get(&format!("{question}?{name}={value}")).await;
                assert_eq!(answer.status, 200, "{path} {name}={value}: {}", answer.body);
                assert_documented(&document, path, &answer);
                asked += 1;
            }
            if of_items["type"] != "string" || of_items["enum"].is_array() || of_items["format"].is_string() {
                let wrong = client.get(&format!("{question}?{name}=-1")).await;
                assert_eq!(wrong.status, 400, "{path} {name}");
                first.get_or_insert(wrong);
            }
        }
    }
    assert!(asked == 25 && first.is_some(), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_random_questions_find_no_error_of_the_server() {
    let mut deployment = Deployment::new(1).await;
    let shape = Shape { records: 500, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() };
    deployment.send(&Generator::new(shape).collect::<Vec<_>>()).await;
    deployment.drain().await;
    let (_instance, client) = ready(&mut deployment).await;
    let document = client.get("/api/v1/openapi.json").await.json();
    let known = ids(&client, &format!("{SESSIONS}?limit=20")).await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    let mut positions: Vec<String> = Vec::new();
    for _ in 0..1_000 {
        let path = random.choice(document["paths"].as_object().unwrap().keys()).unwrap().clone();
        let id = if random.bool() { random.choice(&known).unwrap().clone() } else { odd(&mut random) };
        let mut question = path.replace("{session_id}", &encoded(&id));
        let parameters = document["paths"][&path]["get"]["parameters"].as_array().unwrap();
        for index in 0..random.usize(0..4) {
            let Some(parameter) = random.choice(parameters) else { break };
            let value = match random.u8(0..4) {
                0 => odd(&mut random),
                1 => positions.get(random.usize(0..positions.len().max(1))).cloned().unwrap_or_default(),
                _ => plausible(&mut random, &parameter["schema"]),
            };
            let name = parameter["name"].as_str().unwrap();
            question += &format!("{}{name}={}", if index == 0 { '?' } else { '&' }, encoded(&value));
        }
        let answer = client.get(&question).await;
        assert!(answer.status < 500, "{question}: {answer:?}");
        if answer.status == 200 || answer.status == 400 {
            if parameters.is_empty() && answer.status == 400 {
                continue;
            }
            assert_documented(&document, &path, &answer);
        }
        positions.extend(
            serde_json::from_str::<Value>(&answer.body).ok().and_then(|body| Some(body["next"].as_str()?.to_owned())),
        );
        *statuses.entry(answer.status).or_default() += 1;
    }
    for status in [200, 400, 404] {
        assert!(statuses[&status] > 25, "{statuses:?}");
    }
}

/// What nobody would ask.
fn odd(random: &mut fastrand::Rng) -> String {
    let texts = [
        "",
        "0",
        "-1",
        "9999999999999999999",
        "1e9",
        "\0",
        "'; DROP TABLE sessions; --",
        "%",
        "_",
        "\\",
        "/",
        "..",
        "a b",
        "\u{1f600}",
        "\u{202e}",
        "NaN",
        "null",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "e30",
        "{}",
        "\r\n",
    ];
    if random.u8(0..8) == 0 { "x".repeat(random.usize(1..600)) } else { (*random.choice(&texts).unwrap()).to_owned() }
}

fn plausible(random: &mut fastrand::Rng, schema: &Value) -> String {
    let schema = if schema["type"] == "array" { &schema["items"] } else { schema };
    match (schema["enum"].as_array(), schema["type"].as_str()) {
        (Some(values), _) => random.choice(values).unwrap().as_str().unwrap().to_owned(),
        (None, Some("integer")) => random.u16(1..=1_000).to_string(),
        (None, Some("boolean")) => random.bool().to_string(),
        (None, _) if schema["format"] == "date-time" => format!("2026-03-{:02}T00:00:00Z", random.u8(1..=31)),
        (None, _) => (*random.choice(&["Bash", "/home", "main", "Read"]).unwrap()).to_owned(),
    }
}

fn encoded(text: &str) -> String {
    let byte =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}
