//! `sessionfold mcp`: answers an agent on standard input and output.

use std::process::ExitCode;

use crate::{config::Config, serve::serve_stdio};

use super::{CommandResult, logging, signals::Signals};

pub(super) async fn execute(config: &Config) -> CommandResult {
    logging::start(&config.log)?;
    let mut signals = Signals::new()?;
    tokio::select! {
        served = serve_stdio(config) => served?,
        () = signals.received() => {}
    }
    Ok(ExitCode::SUCCESS)
}
