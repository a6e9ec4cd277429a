//! `sessionfold sessions`: what is known of sessions, and what an operator decides about them.

mod delete;
mod drawing;
mod export;
mod filter;
mod finalize;
mod list;
mod reason;
#[cfg(test)]
mod samples;
mod show;
mod text;
mod timeline;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use crate::{
    config::Config,
    event::SessionId,
    service::{adopt_generation, open_store, preflight_database},
    store::Store,
};

use super::{CommandResult, Failure, check::first_problem};

#[derive(Args)]
#[command(after_help = "Example: sessionfold sessions list --status active")]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Subcommand)]
enum SessionsCommand {
    /// List sessions, page by page
    ///
    /// Sorted by the last event they are found by an index; any other list reads the whole table.
    #[command(after_help = "Example: sessionfold sessions list --under /home/dev --sort events")]
    List(list::ListArgs),
    /// Show one session
    #[command(after_help = "Example: sessionfold sessions show checkout")]
    Show(show::ShowArgs),
    /// Draw what happened in a session, in order, with the changes of its status
    ///
    /// Each line says when it was, from the session's first event on; a tool execution has a bar for how long it took.
    /// Changes of the status stand where they were written, which is later than their cause.
    #[command(after_help = "Example: sessionfold sessions timeline checkout")]
    Timeline(timeline::TimelineArgs),
    /// Write sessions, or their events, as JSON lines
    ///
    /// In the order of their ids, each page as it is at that moment.
    #[command(after_help = "Example: sessionfold sessions export --status ended --events > ended.jsonl")]
    Export(export::ExportArgs),
    /// End a session by hand
    ///
    /// Sends an `ended` event to the topic of ends, since what isn't in the log would not survive a replay: with reason
    /// `other`, and the text as its `action_description`. The running service folds it as any other event. A session that
    /// speaks again is active again.
    ///
    /// Exit code 0 once the event is in the log, folded or not; 1 if it couldn't be sent.
    #[command(after_help = "Example: sessionfold sessions finalize checkout --reason \"its machine is gone\"")]
    Finalize(finalize::FinalizeArgs),
    /// Delete sessions with all that belongs to them, for good
    ///
    /// Their events are ignored from then on, whether they arrive or are read again by a replay, and counted as ignored.
    /// A session that isn't stored may be deleted too, so that it never will be. What was deleted can't be undone, but a
    /// replay brings it back after `sessions restore`, for as long as the topics hold the events.
    #[command(after_help = "Example: sessionfold sessions delete checkout --reason \"asked for by its owner\"")]
    Delete(delete::DeleteArgs),
    /// Let the events of deleted sessions count again
    ///
    /// It brings nothing back by itself: new events begin the session anew. The old ones come back with
    /// `sessionfold replay`, for as long as the topics hold them.
    #[command(after_help = "Example: sessionfold sessions restore checkout")]
    Restore(delete::RestoreArgs),
}

pub(super) async fn execute(config: Config, args: SessionsArgs) -> CommandResult {
    let store = open_store(&config);
    first_problem(&preflight_database(&store, false).await)?;
    let (config, store) = adopt_generation(config, &store).await?;
    let result = run(&config, &store, args.command).await;
    store.close().await;
    result
}

async fn run(config: &Config, store: &Store, command: SessionsCommand) -> CommandResult {
    match command {
        SessionsCommand::List(args) => list::execute(store, args).await,
        SessionsCommand::Show(args) => show::execute(store, args).await,
        SessionsCommand::Timeline(args) => timeline::execute(store, args).await,
        SessionsCommand::Export(args) => export::execute(store, args).await,
        SessionsCommand::Finalize(args) => finalize::execute(config, store, args).await,
        SessionsCommand::Delete(args) => delete::delete(store, args).await,
        SessionsCommand::Restore(args) => delete::restore(store, args).await,
    }
}

/// Why there is nothing to say of a session that has no row.
async fn unknown(store: &Store, session_id: &SessionId) -> Failure {
    let name = text::quoted(session_id.as_str());
    match store.tombstones(std::slice::from_ref(session_id)).await.as_deref() {
        Err(_) | Ok([]) => Failure::Runtime(anyhow!("no session {name} is stored")),
        Ok([tombstone, ..]) => Failure::Runtime(anyhow!("session {name} {}", delete::told(tombstone))),
    }
}
