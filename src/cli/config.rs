//! `sessionfold config`

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::config::Config;

use super::CommandResult;

#[derive(Args)]
#[command(after_help = "Example: sessionfold config --set batch.max_events=5000")]
pub(super) struct ConfigArgs {
    /// Print one JSON object, without where each value is from
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(config: &Config, args: ConfigArgs) -> CommandResult {
    config.warnings().iter().for_each(|warning| eprintln!("sessionfold: {warning}"));
    let rendered = config.render();
    if args.json {
        let values: toml::Table = rendered.parse().context("the configuration can't be written as JSON")?;
        outln!("{}", serde_json::to_string(&values)?);
    } else {
        out!("{rendered}");
    }
    Ok(ExitCode::SUCCESS)
}
