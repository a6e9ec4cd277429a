//! `sessionfold completions`: what a shell needs to complete the program's commands and options.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CommandResult, terminal};

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell to write for
    shell: Shell,
}

pub(super) fn execute(args: &CompletionsArgs) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sessionfold", &mut script);
    let _ = terminal::print(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}
