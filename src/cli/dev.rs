//! `sessionfold dev`: the development stack, for tests and for trying things out.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use crate::devstack::{Options, Stack, run_with_stack};
use clap::{Args, Subcommand};

use super::CommandResult;

#[derive(Args)]
#[command(after_help = "Example: sessionfold dev run -- cargo test")]
pub(super) struct DevArgs {
    #[command(subcommand)]
    command: DevCommand,
}

#[derive(Subcommand)]
enum DevCommand {
    /// Start a private broker and Postgres, run a command with their addresses in its environment, and end them
    ///
    /// The command finds SESSIONFOLD_KAFKA__BROKERS, SESSIONFOLD_POSTGRES__URL and SESSIONFOLD_DEV_POSTGRES_URL in its
    /// environment. SESSIONFOLD_DEV_BROKER names the broker's program, where it isn't in target/dev.
    #[command(after_help = "Example: sessionfold dev run -- cargo test")]
    Run {
        /// The command and its arguments
        #[arg(value_name = "COMMAND", required = true, last = true)]
        command: Vec<OsString>,
    },
    /// End a broker and a Postgres that were left running
    #[command(after_help = "Example: sessionfold dev stop /tmp/sessionfold-dev-Ab12Cd")]
    Stop {
        /// The folder that their start printed
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

pub(super) async fn execute(args: DevArgs) -> CommandResult {
    match args.command {
        DevCommand::Run { command } => {
            let Some((program, arguments)) = command.split_first() else { return Ok(ExitCode::from(2)) };
            Ok(ExitCode::from(run_with_stack(&Options::default(), program, arguments).await?))
        }
        DevCommand::Stop { folder } => {
            Stack::stop_detached(&folder).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
