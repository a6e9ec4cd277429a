//! `sessionfold migrate`

use std::process::ExitCode;

use crate::{
    config::Config,
    service::{open_store, preflight_database},
};
use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{CommandResult, check::first_problem};

#[derive(Args)]
#[command(after_help = "Example: sessionfold migrate --config sessionfold.toml")]
pub(super) struct MigrateArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(config: Config, args: MigrateArgs) -> CommandResult {
    let store = open_store(&config);
    first_problem(&preflight_database(&store, true).await)?;
    let migrations = store.migrate().await.context("the migrations could not be applied")?;
    if args.json {
        outln!("{}", json!({"schema": store.schema(), "applied": migrations.applied}));
    } else {
        outln!("schema {}: {} migration(s) applied, now current", store.schema(), migrations.applied);
    }
    store.close().await;
    Ok(ExitCode::SUCCESS)
}
