//! `sessionfold migrate`

use std::process::ExitCode;

use crate::{
    config::Config,
    service::{open_store, preflight_database},
};
use anyhow::Context;

use super::{CommandResult, check::first_problem};

pub(super) async fn execute(config: Config) -> CommandResult {
    let store = open_store(&config);
    first_problem(&preflight_database(&store, true).await)?;
    let migrations = store.migrate().await.context("the migrations could not be applied")?;
    outln!("schema {}: {} migration(s) applied, now current", store.schema(), migrations.applied);
    store.close().await;
    Ok(ExitCode::SUCCESS)
}
