//! `sessionfold sessions`: what is known of sessions, and what an operator decides about them.

mod filter;
mod list;
#[cfg(test)]
mod samples;
mod show;
mod text;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use crate::{
    config::Config,
    event::SessionId,
    service::{open_store, preflight_database},
    store::Store,
};

use super::{CommandResult, Failure, check::first_problem};

#[derive(Args)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Subcommand)]
enum SessionsCommand {
    /// List sessions, page by page
    ///
    /// Reads the whole table, or what the filters leave of it.
    ///
    /// Example: sessionfold sessions list --status active --under /home/dev --sort events
    List(list::ListArgs),
    /// Show one session
    ///
    /// Example: sessionfold sessions show 0b0f7c1e-4a2d-4b7e-9d55-3f0d6f1f9a11
    Show(show::ShowArgs),
}

pub(super) async fn execute(config: Config, args: SessionsArgs) -> CommandResult {
    let store = open_store(&config);
    first_problem(&preflight_database(&store, false).await)?;
    let result = run(&config, &store, args.command).await;
    store.close().await;
    result
}

async fn run(_config: &Config, store: &Store, command: SessionsCommand) -> CommandResult {
    match command {
        SessionsCommand::List(args) => list::execute(store, args).await,
        SessionsCommand::Show(args) => show::execute(store, args).await,
    }
}

/// Why a session can't be shown.
fn unknown(session_id: &SessionId) -> Failure {
    Failure::Runtime(anyhow!("no session {} is stored", text::quoted(session_id.as_str())))
}
