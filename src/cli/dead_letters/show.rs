//! `sessionfold dead-letters show`.

use std::process::ExitCode;

use anyhow::anyhow;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        CommandResult,
        progress::grouped,
        terminal::{Terminal, cut, visible, wrapped},
    },
    record::Header,
    store::{LetterId, Store, StoredLetter, headers_to_json},
};

use super::{
    list,
    value::{Style, Text, of_bytes, of_named},
};

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The dead letter
    #[arg(value_name = "ID")]
    id: LetterId,
    /// Show secrets too: the record as it was sent
    #[arg(long)]
    raw: bool,
    /// Show all of it, however long
    #[arg(long)]
    full: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Of the value, without `--full`.
const MOST_LINES: usize = 60;
/// Of each line, also without a terminal.
const MOST_COLUMNS: usize = 200;
/// Shown around the member at fault where it stands further down.
const LINES_AROUND: usize = 3;

pub(super) async fn execute(store: &Store, args: ShowArgs) -> CommandResult {
    let Some(letter) = store.dead_letter(args.id).await? else {
        return Err(anyhow!("there is no dead letter {}", args.id).into());
    };
    let style = if args.raw { Style::Raw } else { Style::Redacted };
    if args.raw {
        eprintln!("as it was sent: what follows may hold secrets");
    }
    if args.json {
        outln!("{}", as_json(&letter, style));
    } else {
        print_head(&letter);
        print_record(&letter, style, args.full);
    }
    Ok(ExitCode::SUCCESS)
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn line(name: &str, value: &str) {
    outln!("{}", wrapped(&format!("{name:<11} {}", visible(value)), 12, Terminal::of_stdout().width));
}

fn print_head(letter: &StoredLetter) {
    let summary = &letter.summary;
    line("id", &summary.id.to_string());
    line("record", &format!("{} at offset {}", summary.partition, summary.offset.get()));
    line("timestamp", &summary.record_timestamp.map_or_else(|| "none".to_owned(), time));
    line("set aside", &time(summary.created_at));
    line("status", &format!("{}{}", summary.status.as_str(), attempts(summary.attempts)));
    line("reason", &summary.reason);
    if let Some(path) = &summary.field_path {
        line("field", path);
    }
    line("detail", &summary.detail);
}

fn attempts(attempts: i32) -> String {
    match attempts {
        0 => String::new(),
        1 => ", redriven once".to_owned(),
        attempts => format!(", redriven {attempts} times"),
    }
}

fn print_record(letter: &StoredLetter, style: Style, full: bool) {
    let limit = if full { usize::MAX } else { Terminal::of_stdout().width.min(MOST_COLUMNS) };
    let fault = letter.summary.field_path.as_deref();
    let print = |name: &str, text: &str| outln!("{name:<11} {}", cut(&visible(text), limit.saturating_sub(12)));
    print("key", &letter.key.as_deref().map_or_else(|| "null".to_owned(), |key| of_bytes(key, style)));
    for (index, header) in letter.headers.iter().enumerate() {
        let (name, value) = header_texts(header, style);
        let mark = if is_at_fault(&letter.headers, index, fault) { "  ← at fault" } else { "" };
        print("header", &format!("{name}: {value}{mark}"));
    }
    let Some(value) = &letter.value else { return print("value", "null") };
    print("value", &format!("{} bytes", grouped(value.len() as u64)));
    let text = Text::of(value, fault, style);
    let is_shown = |index: usize| full || index < MOST_LINES || text.is_near_fault(index, LINES_AROUND);
    let mut hidden = 0;
    for (index, shown) in text.lines.iter().enumerate() {
        if !is_shown(index) {
            hidden += 1;
            continue;
        }
        if hidden > 0 {
            outln!("  … {} lines; --full shows them", grouped(hidden));
            hidden = 0;
        }
        let mark = if text.faults.contains(&index) { '→' } else { ' ' };
        outln!("{mark} {}", cut(shown, limit.saturating_sub(2)));
    }
    if hidden > 0 {
        outln!("  … {} lines; --full shows them", grouped(hidden));
    }
}

fn header_texts(header: &Header, style: Style) -> (String, String) {
    let name = of_bytes(&header.key, style);
    let value = header.value.as_deref().map_or_else(|| "null".to_owned(), |value| of_named(&name, value, style));
    (name, value)
}

/// The kind is taken from the last header of its name.
fn is_at_fault(headers: &[Header], index: usize, fault: Option<&str>) -> bool {
    let is_kind = |header: &Header| *header.key == *b"event_type";
    fault == Some("headers.event_type") && headers.iter().rposition(is_kind) == Some(index)
}

/// By the names of the columns. Redacted, the value is laid out; as it was sent it is byte for byte.
fn as_json(letter: &StoredLetter, style: Style) -> Value {
    let mut object = list::as_json(&letter.summary);
    let (key, value) = (letter.key.as_deref(), letter.value.as_deref());
    if style == Style::Raw {
        for (name, part) in [raw_part("key", key), raw_part("value", value)] {
            object[name] = part;
        }
        object["headers"] = headers_to_json(&letter.headers);
    } else {
        object["key"] = key.map(|key| of_bytes(key, style)).into();
        object["value"] = value.map(|value| Text::of(value, None, style).lines.join("\n")).into();
        let header = |header: &Header| {
            let (name, value) = header_texts(header, style);
            json!({"key": name, "value": header.value.is_some().then_some(value)})
        };
        object["headers"] = letter.headers.iter().map(header).collect();
    }
    object["redacted"] = (style == Style::Redacted).into();
    object
}

/// As the column `headers` has it: in base64 where it is no text.
fn raw_part(name: &str, bytes: Option<&[u8]>) -> (String, Value) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => (name.to_owned(), Value::Null),
        Some((_, Ok(text))) => (name.to_owned(), text.into()),
        Some((bytes, Err(_))) => (format!("{name}_base64"), BASE64.encode(bytes).into()),
    }
}
