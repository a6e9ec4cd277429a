//! `sessionfold offsets`: where reading stands, and the decision where it goes on.

mod decision;
mod show;
mod target;

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::{
    config::Config,
    service::{open_store, preflight_database},
};

use super::{CommandResult, check::first_problem};

#[derive(Args)]
#[command(after_help = "Example: sessionfold offsets show")]
pub(super) struct OffsetsArgs {
    #[command(subcommand)]
    command: OffsetsCommand,
}

#[derive(Subcommand)]
enum OffsetsCommand {
    /// Show the checkpoint, Kafka's committed offset, the log's ends, and how far behind it is, by partition
    ///
    /// Without the broker it shows the checkpoints alone.
    #[command(after_help = "Example: sessionfold offsets show --json")]
    Show(show::ShowArgs),
    /// Move checkpoints, to read records again or to leave some out
    ///
    /// Only while no instance runs. Records that are read again are taken for the duplicates that they are, and bad ones
    /// are the dead letters that they are already; those that are left out are read by nobody.
    #[command(after_help = "\
Example:
  sessionfold offsets seek --topic dev.omniclaude.tool.executed.v1 \\
      --to 2026-03-01T00:00:00Z")]
    Seek(decision::SeekArgs),
    /// Move the checkpoint of a partition whose log no longer holds it
    ///
    /// For a partition that halted because retention ran over its checkpoint or its topic was made anew. Records
    /// between the old checkpoint and a later new one are skipped for good; records after an earlier one are read again,
    /// where events are taken for the duplicates that they are, and bad records are kept already. Restart
    /// the instances that halted the partition afterwards.
    #[command(after_help = "\
Example:
  sessionfold offsets adopt --topic dev.omniclaude.tool.executed.v1 \\
      --partition 0 --to earliest")]
    Adopt(decision::AdoptArgs),
}

/// How long the broker may take to answer one question.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn execute(config: Config, args: OffsetsArgs) -> CommandResult {
    let store = open_store(&config);
    first_problem(&preflight_database(&store, false).await)?;
    let result = match args.command {
        OffsetsCommand::Show(args) => show::execute(&config, &store, args).await,
        OffsetsCommand::Seek(args) => decision::seek(&config, &store, args).await,
        OffsetsCommand::Adopt(args) => decision::adopt(&config, &store, args).await,
    };
    store.close().await;
    result
}
