//! `sessionfold config`

use std::process::ExitCode;

use crate::config::Config;

use super::CommandResult;

pub(super) fn execute(config: &Config) -> CommandResult {
    print!("{}", config.render());
    Ok(ExitCode::SUCCESS)
}
