//! `sessionfold transitions`: what waits to be published, and what was set aside.

use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    config::Config,
    service::{open_store, preflight_database},
    store::{OutboxEntry, OutboxSelection, Store},
};

use super::{
    CommandResult,
    arguments::whole,
    check::first_problem,
    confirm::ask,
    progress::grouped,
    table::{Column, Table},
    terminal::{Terminal, visible, wrapped},
};

#[derive(Args)]
#[command(after_help = "Example: sessionfold transitions list --set-aside")]
pub(super) struct TransitionsArgs {
    #[command(subcommand)]
    command: TransitionsCommand,
}

#[derive(Subcommand)]
enum TransitionsCommand {
    /// List transitions that were set aside, then those that wait
    #[command(after_help = "Example: sessionfold transitions list --set-aside --limit 100")]
    List(ListArgs),
    /// Have transitions that were set aside sent again
    ///
    /// Those that `run` publishes meanwhile are later in the topic than their session's later ones, which went on
    /// without them.
    #[command(after_help = "Example: sessionfold transitions retry --session checkout")]
    Retry(RetryArgs),
}

fn transition_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| "allowed: the id of a transition, like 0195f1d2-7f3c-7c1e-9d5a-3b1f0c6e2a47".to_owned())
}

/// Both conditions must hold.
#[derive(Args)]
struct SelectionArgs {
    /// Only of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only this one; may be given several times
    #[arg(long, value_name = "ID", value_parser = transition_id)]
    id: Vec<Uuid>,
}

impl SelectionArgs {
    fn selection(self) -> OutboxSelection {
        OutboxSelection { session_id: self.session, ids: self.id }
    }
}

#[derive(Args)]
struct ListArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Only those that were set aside
    #[arg(long)]
    set_aside: bool,
    /// Most to show of each
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole(1_u32..=10_000))]
    limit: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RetryArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// So much of an id or of an error is shown at least.
const LEAST_TEXT: usize = 36;

pub(super) async fn execute(config: Config, args: TransitionsArgs) -> CommandResult {
    let store = open_store(&config);
    first_problem(&preflight_database(&store, false).await)?;
    let result = match args.command {
        TransitionsCommand::List(args) => list(&store, args).await,
        TransitionsCommand::Retry(args) => retry(&store, args).await,
    };
    store.close().await;
    result
}

async fn list(store: &Store, args: ListArgs) -> CommandResult {
    let selection = args.selection.selection();
    let set_aside = store.set_aside_transitions(&selection, args.limit).await?;
    let waiting = if args.set_aside { Vec::new() } else { store.waiting_transitions(&selection, args.limit).await? };
    let standing = store.outbox_standing().await?;
    if args.json {
        let as_json = |entries: &[OutboxEntry]| entries.iter().map(as_json).collect::<Vec<_>>();
        let printed = json!({
            "set_aside": as_json(&set_aside),
            "waiting": as_json(&waiting),
            "set_aside_count": standing.set_aside,
            "waiting_count": standing.waiting,
            "oldest_waiting_at": standing.oldest_at,
        });
        outln!("{printed}");
        return Ok(ExitCode::SUCCESS);
    }
    let (terminal, shown) = (Terminal::of_stdout(), [set_aside, waiting].concat());
    if !shown.is_empty() {
        outln!("{}", table(&shown, terminal));
    }
    let (set_aside, waiting) = (grouped(standing.set_aside), grouped(standing.waiting));
    let oldest = standing.oldest_at.map(|at| format!(", the oldest since {}", seconds(at))).unwrap_or_default();
    let line = format!("in all: {set_aside} set aside, {waiting} waiting{oldest}");
    outln!("{}", wrapped(&line, 2, terminal.width));
    Ok(ExitCode::SUCCESS)
}

fn table(entries: &[OutboxEntry], terminal: Terminal) -> String {
    let mut table = Table::new([
        Column::text("id"),
        Column::text("occurred"),
        Column::text("change"),
        Column::text("session").cut_to(LEAST_TEXT),
        Column::number("version"),
        Column::text("state"),
        Column::text("refused for").cut_to(LEAST_TEXT),
    ]);
    for entry in entries {
        let from = entry.from_status.as_deref().unwrap_or("new");
        let state = match (entry.set_aside_at, entry.next_attempt_at) {
            (Some(at), _) => format!("set aside {}", seconds(at)),
            (None, Some(at)) if at > Utc::now() => format!("waits until {}", seconds(at)),
            (None, _) => "waits".to_owned(),
        };
        let error = entry.last_error.as_ref().map(|error| format!("{error} ({} times)", entry.attempts));
        table.add([
            entry.key.id.to_string(),
            seconds(entry.occurred_at),
            visible(&format!("{from} -> {}", entry.to_status)),
            visible(&entry.key.session_id),
            entry.key.session_version.to_string(),
            state,
            error.map_or_else(|| "-".to_owned(), |error| visible(&error)),
        ]);
    }
    table.drawn(terminal)
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// By the names of the columns.
fn as_json(entry: &OutboxEntry) -> Value {
    json!({
        "id": entry.key.id,
        "session_id": entry.key.session_id,
        "session_version": entry.key.session_version,
        "from_status": entry.from_status,
        "to_status": entry.to_status,
        "cause": entry.cause,
        "occurred_at": entry.occurred_at,
        "attempts": entry.attempts,
        "last_error": entry.last_error,
        "next_attempt_at": entry.next_attempt_at,
        "set_aside_at": entry.set_aside_at,
    })
}

async fn retry(store: &Store, args: RetryArgs) -> CommandResult {
    let selection = args.selection.selection();
    let selected = store.count_set_aside_transitions(&selection).await?;
    eprintln!("transitions that were set aside are sent again: {}", grouped(selected));
    let retried = if selected == 0 {
        0
    } else {
        ask(args.yes)?;
        store.retry_transitions(&selection).await?
    };
    if args.json {
        outln!("{}", json!({"selected": selected, "retried": retried}));
    } else {
        outln!("waiting again: {}", grouped(retried));
    }
    Ok(ExitCode::SUCCESS)
}
