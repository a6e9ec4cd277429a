//! Postgres, as somebody sees it who connects anew.

use std::time::Duration;

use crate::{config::Config, service::open_store_with, store::MigrationState};

use super::snapshot::{Answer, Counted, Fault};

/// The tables that the configuration names.
#[derive(Debug)]
pub(super) struct Tables(Box<Config>);

impl Tables {
    pub(super) fn new(config: &Config) -> Self {
        Self(Box::new(config.clone()))
    }

    /// Connects, asks for the migrations, and closes the connection.
    pub(super) async fn ask(&self, timeout: Duration) -> Answer {
        let store = open_store_with(&self.0, 1, timeout);
        let state = store.migration_state().await;
        store.close().await;
        match state {
            Ok(MigrationState::Current) => Ok(Counted::default()),
            Ok(MigrationState::Missing(count)) => Err(Fault::new(format!("{count} migrations are missing"))),
            Ok(MigrationState::Newer) => Err(Fault::new("the tables are a newer version's")),
            Err(error) => Err(Fault::new(error.to_string())),
        }
    }
}
