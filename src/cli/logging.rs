//! Where the log goes: standard error, as text or as JSON lines.

use std::io::{IsTerminal, stderr};

use crate::config::{LogConfig, LogFormat};
use anyhow::{Context, anyhow};
use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt};

use super::Failure;

/// The library of the Model Context Protocol tells each request, with all that is in it. Who wants that names it.
const QUIET: &str = "rmcp";

pub(super) fn start(config: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.filter).context("log.filter is not a filter like `info,sessionfold=debug`");
    let mut filter = filter.map_err(Failure::Usage)?;
    let says_more_than_warnings = filter.max_level_hint().is_none_or(|most| most > LevelFilter::WARN);
    if says_more_than_warnings && !config.filter.contains(QUIET) {
        filter = filter.add_directive(format!("{QUIET}=warn").parse()?);
    }
    let builder = fmt().log_internal_errors(false).with_env_filter(filter).with_writer(stderr);
    let started = match config.format {
        LogFormat::Text => builder.with_ansi(stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::Runtime(anyhow!(error)))
}
