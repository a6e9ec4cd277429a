//! Where the log goes: standard error, as text or as JSON lines.

use std::io::{IsTerminal, stderr};

use crate::config::{LogConfig, LogFormat};
use anyhow::{Context, anyhow};
use tracing_subscriber::{EnvFilter, fmt};

use super::Failure;

pub(super) fn start(config: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.filter).context("log.filter is not a filter like `info,sessionfold=debug`");
    let builder = fmt().with_env_filter(filter.map_err(Failure::Usage)?).with_writer(stderr);
    let started = match config.format {
        LogFormat::Text => builder.with_ansi(stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::Runtime(anyhow!(error)))
}
