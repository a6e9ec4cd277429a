//! `sessionfold dead-letters list`.

use std::process::ExitCode;

use chrono::SecondsFormat;
use clap::{Args, builder::PossibleValuesParser};
use serde_json::{Value, json};

use crate::{
    cli::{
        CommandResult,
        arguments::whole,
        progress::grouped,
        table::{Column, Table},
        terminal::{Terminal, visible, wrapped},
    },
    store::{LetterFilter, LetterId, LetterStatus, LetterSummary, Store},
};

use super::{filter::FilterArgs, in_words};

#[derive(Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Only of this status; may be given several times
    #[arg(long, value_name = "STATUS", value_parser = PossibleValuesParser::new(LetterStatus::ALL.map(LetterStatus::as_str)))]
    status: Vec<String>,
    /// Most to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole(1_u32..=10_000))]
    limit: u32,
    /// Begin behind this one, which the page before ended with
    #[arg(long, value_name = "ID")]
    after: Option<LetterId>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// So much of what is wrong is shown at least.
const LEAST_DETAIL: usize = 50;

pub(super) async fn execute(store: &Store, args: ListArgs) -> CommandResult {
    let statuses = args.status.iter().filter_map(|name| LetterStatus::from_name(name)).collect();
    let filter = LetterFilter { statuses, ..args.filter.filter() };
    let page = store.dead_letters(&filter, args.after, args.limit).await?;
    if args.json {
        let letters: Vec<Value> = page.letters.iter().map(as_json).collect();
        outln!("{}", json!({"dead_letters": letters, "next": page.next}));
        return Ok(ExitCode::SUCCESS);
    }
    let terminal = Terminal::of_stdout();
    let (counts, _) = store.count_dead_letters(&filter, u32::MAX).await?;
    if !page.letters.is_empty() {
        outln!("{}", table(&page.letters, terminal));
    }
    outln!("{}", wrapped(&in_words(&counts), 2, terminal.width));
    if let Some(next) = page.next {
        outln!("{} shown; the next page: --after {next}", grouped(page.letters.len() as u64));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(letters: &[LetterSummary], terminal: Terminal) -> String {
    let mut table = Table::new([
        Column::text("id"),
        Column::text("set aside"),
        Column::text("reason"),
        Column::text("status"),
        Column::text("record"),
        Column::text("what is wrong").cut_to(LEAST_DETAIL),
    ]);
    for letter in letters {
        let field = letter.field_path.as_ref().map(|path| format!("{path}: ")).unwrap_or_default();
        table.add([
            letter.id.to_string(),
            letter.created_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            visible(&letter.reason),
            fate(letter),
            visible(&format!("{}@{}", letter.partition, letter.offset.get())),
            visible(&format!("{field}{}", letter.detail)),
        ]);
    }
    table.drawn(terminal)
}

/// What was done about it.
fn fate(letter: &LetterSummary) -> String {
    let status = letter.status.as_str();
    match letter.attempts {
        0 => status.to_owned(),
        1 => format!("{status}, 1 attempt"),
        attempts => format!("{status}, {attempts} attempts"),
    }
}

/// By the names of the columns.
pub(super) fn as_json(letter: &LetterSummary) -> Value {
    json!({
        "id": letter.id,
        "topic": &*letter.partition.topic,
        "partition": letter.partition.partition,
        "record_offset": letter.offset.get(),
        "record_timestamp": letter.record_timestamp,
        "value_bytes": letter.value_bytes,
        "reason": letter.reason,
        "field_path": letter.field_path,
        "detail": letter.detail,
        "status": letter.status.as_str(),
        "attempts": letter.attempts,
        "created_at": letter.created_at,
    })
}
