//! `sessionfold config`

use std::process::ExitCode;

use crate::config::Config;

use super::CommandResult;

pub(super) fn execute(config: &Config) -> CommandResult {
    config.warnings().iter().for_each(|warning| eprintln!("sessionfold: {warning}"));
    out!("{}", config.render());
    Ok(ExitCode::SUCCESS)
}
