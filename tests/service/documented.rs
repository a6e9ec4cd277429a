//! What the operator's guide shows of the commands is what they print.

use std::{fmt::Write as _, net::TcpListener};

use chrono::{DateTime, Utc};
use regex::{Captures, Regex};
use sessionfold::{event::EventKind, generate::GeneratedRecord};
use uuid::Uuid;

use crate::{
    deployment::Deployment,
    program::run,
    records::{ended, prompt, record, started, tool},
    tansu::Tansu,
};

const END: &str = "<!-- The end of what is made. -->\n";

/// In this order, on one deployment. `LETTER` stands for the id of the oldest dead letter.
const COMMANDS: [&[&str]; 20] = [
    &["run", "--drain"],
    &["offsets", "show"],
    &["sessions", "list"],
    &["sessions", "show", "checkout"],
    &["sessions", "timeline", "checkout"],
    &["sessions", "export", "--status", "active"],
    &["sessions", "delete", "abandoned", "--reason", "asked for by its owner", "--yes"],
    &["dead-letters", "list"],
    &["dead-letters", "show", "LETTER"],
    &["dead-letters", "redrive", "--set", "events.max_value_bytes=20000", "--yes"],
    &["dead-letters", "discard", "--reason", "schema", "--yes"],
    &["retention", "--dry-run", "--set", "retention.dead_letters=1d"],
    &["replay", "--dry-run"],
    &["replay"],
    &["replay", "--into", "shorter", "--set", "aggregator.reopen_grace=0s"],
    &["generations", "list"],
    &["generations", "diff", "live", "shorter"],
    &["generations", "promote", "shorter", "--yes"],
    &["generations", "drop", "original", "--yes"],
    &["verify"],
];

/// A small log: three sessions, one without an end, and two records that are no good events.
fn log() -> Vec<GeneratedRecord> {
    let mut records = vec![
        started("checkout", 1, "2026-03-01T09:00:00Z"),
        prompt("checkout", 2, "2026-03-01T09:00:05Z"),
        tool("checkout", 3, "2026-03-01T09:00:11Z", "Bash"),
        tool("checkout", 4, "2026-03-01T09:04:40Z", "Edit"),
        ended("checkout", 5, "2026-03-01T09:05:00Z"),
        tool("checkout", 6, "2026-03-01T09:05:30Z", "Bash"),
        started("ledger", 7, "2026-03-01T10:00:00Z"),
        prompt("ledger", 8, "2026-03-01T10:00:02Z"),
        prompt("abandoned", 9, "2026-03-01T11:00:00Z"),
        record(EventKind::Tool, "ledger", 10, "2026-03-01T10:00:09Z", serde_json::json!({"tool_name": ""})),
        padded(tool("ledger", 11, "2026-03-01T10:00:20Z", "Grep")),
    ];
    for record in &mut records {
        let value: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let emitted_at: DateTime<Utc> = value["payload"]["emitted_at"].as_str().unwrap().parse().unwrap();
        record.timestamp_millis = emitted_at.timestamp_millis() + 40;
    }
    records
}

/// White space makes it too large for this deployment, and for no other.
fn padded(record: GeneratedRecord) -> GeneratedRecord {
    let value = [record.value.unwrap(), vec![b' '; 17_000]].concat();
    GeneratedRecord { value: Some(value), ..record }
}

/// What is another at each run is written as something of the same length.
fn settled(text: &str) -> String {
    let time = Regex::new(r"20\d\d-\d\d-\d\d([T ])\d\d:\d\d:\d\d(\.\d+)?").unwrap();
    let text = time.replace_all(text, |found: &Captures<'_>| {
        if found[0].starts_with("2026-03-01") {
            return found[0].to_owned();
        }
        let fraction = found.get(2).map_or(String::new(), |fraction| format!(".{}", "0".repeat(fraction.len() - 1)));
        format!("2026-03-02{}12:00:00{fraction}", &found[1])
    });
    let made = Regex::new(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").unwrap();
    let mut seen: Vec<String> = Vec::new();
    let text = made.replace_all(&text, |found: &Captures<'_>| {
        let known = seen.iter().position(|known| *known == found[0]).unwrap_or_else(|| {
            seen.push(found[0].to_owned());
            seen.len() - 1
        });
        format!("019cc1a0-0000-7000-8000-{known:012}")
    });
    let rate = Regex::new(r"(?m)^(  (?:seconds|records/s) +)[\d.,]+$").unwrap();
    let text = rate.replace_all(&text, |found: &Captures<'_>| {
        let width = found[0].chars().count() - 2;
        let (name, value) = if found[1].contains("seconds") { ("seconds", "0.02") } else { ("records/s", "550") };
        format!("  {name:<28}{value:>0$}", width - 28)
    });
    // Since the first of March.
    let since = Regex::new(r"\+\d+d [\d:]+").unwrap();
    let text = since.replace_all(&text, "+265d 14:00");
    let gap = Regex::new(r"⋮ \d+d \d+h").unwrap();
    gap.replace_all(&text, "⋮ 265d 14h").into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_shows_what_the_commands_print() {
    // Topics and group have the names of an installation, so the broker is this test's own.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let _broker = Tansu::start(port, &address, &[]).await;
    let mut deployment = Deployment::without_topics(&address).await;
    deployment.topics = deployment.topics.iter().map(|topic| named_by_default(topic)).collect();
    let topics = deployment.topics.join(",");
    for (name, value) in [
        ("SESSIONFOLD_KAFKA__TOPICS", topics.as_str()),
        ("SESSIONFOLD_KAFKA__GROUP_ID", "sessionfold"),
        ("SESSIONFOLD_LOG__FILTER", "error"),
        ("COLUMNS", "110"),
    ] {
        deployment.set(name, value);
    }
    deployment.create_topics(1).await;
    deployment.send(&log()).await;

    let mut shown = String::new();
    for command in COMMANDS {
        let letter = oldest_letter(&deployment).await;
        let arguments: Vec<&str> =
            command.iter().map(|argument| if *argument == "LETTER" { letter.as_str() } else { argument }).collect();
        let output = run(&deployment, &arguments);
        let printed = [output.stderr, output.stdout].concat();
        let printed = String::from_utf8(printed).unwrap();
        assert!(output.status.success(), "{command:?}: {printed}");
        let quoted =
            arguments.iter().map(|one| if one.contains(' ') { format!("\"{one}\"") } else { (*one).to_owned() });
        let line = quoted.collect::<Vec<_>>().join(" ");
        let _ = writeln!(shown, "```text\n$ sessionfold {line}\n{}\n```\n", printed.trim_end());
    }
    let shown = settled(&shown);

    assert_document_has("operations.md", "the_guide_shows_what_the_commands_print", &shown);
}

/// The stretch of a document that a test makes is what it makes now, or is written.
pub fn assert_document_has(document: &str, test: &str, shown: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/").to_owned() + document;
    let text = std::fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- Made by the test `{test}`; SESSIONFOLD_WRITE_GUIDE=1 writes it. -->\n");
    let (before, rest) = text.split_once(&begin).expect("the document has the mark where it begins");
    let (written, after) = rest.split_once(END).expect("the document has the mark where it ends");
    if std::env::var_os("SESSIONFOLD_WRITE_GUIDE").is_some() {
        std::fs::write(path, format!("{before}{begin}\n{shown}{END}{after}")).unwrap();
    } else {
        assert_eq!(written.trim(), shown.trim(), "run it with SESSIONFOLD_WRITE_GUIDE=1 and look at what changed");
    }
}

/// `test.<id>.hook.session.started` is `dev.omniclaude.session.started.v1` in an installation.
fn named_by_default(topic: &str) -> String {
    let (_, kind) = topic.split_once(".hook.").unwrap();
    format!("dev.omniclaude.{kind}.v1")
}

async fn oldest_letter(deployment: &Deployment) -> String {
    let mut connection = deployment.connect().await;
    let oldest = "SELECT id FROM dead_letters ORDER BY created_at, id LIMIT 1";
    let id: Option<Uuid> = sqlx::query_scalar(oldest).fetch_optional(&mut connection).await.unwrap();
    id.map_or_else(String::new, |id| id.to_string())
}
