//! The private broker and Postgres that all measurements share, and fresh places on them.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use sessionfold::{
    config::{Config, Sources},
    devstack::{self, Stack},
    service::open_store,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{backlog::Topics, options::Options};

/// How the names of the schemas begin, by which they are found again.
const PREFIX: &str = "bench_";
/// The program's setting of what it reads.
const TOPICS: &str = "SESSIONFOLD_KAFKA__TOPICS";

pub struct Rig {
    stack: Stack,
    set: Vec<String>,
    batch: Option<usize>,
    places: AtomicU32,
}

/// A schema and a group that nobody has used, and the topics to read.
pub struct Place {
    pub schema: String,
    pub group: String,
    /// As variables of the environment, for the library and for the program alike.
    pub settings: Vec<(String, String)>,
}

impl Place {
    /// From now on other topics are read into it.
    pub fn read(&mut self, topics: &Topics) {
        for (name, value) in &mut self.settings {
            if name == TOPICS {
                *value = topics.names().join(",");
            }
        }
    }
}

impl Rig {
    pub async fn start(options: &Options) -> Result<Self> {
        let stack = Stack::start(&devstack::Options::default()).await?;
        Ok(Self { stack, set: options.set.clone(), batch: options.batch, places: AtomicU32::new(0) })
    }

    pub async fn stop(self) {
        self.stack.stop().await;
    }

    pub fn brokers(&self) -> String {
        self.stack.broker.bootstrap()
    }

    pub fn postgres_url(&self) -> String {
        self.stack.postgres.url()
    }

    pub async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.postgres_url()).await?)
    }

    /// A connection whose search path is the schema of a place.
    pub async fn connect_to(&self, place: &Place) -> Result<PgConnection> {
        let mut connection = self.connect().await?;
        execute(&mut connection, format!("SET search_path TO {}", place.schema)).await?;
        Ok(connection)
    }

    /// Drops what measurements have left: each starts from the same state.
    pub async fn settle(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        let schemas: Vec<String> =
            sqlx::query_scalar("SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname, $1)")
                .bind(PREFIX)
                .fetch_all(&mut connection)
                .await?;
        for schema in schemas {
            drop_schema(&mut connection, &schema).await?;
        }
        connection.close().await?;
        self.checkpoint().await
    }

    /// Has all that is dirty written, so that no measurement pays for what another has left.
    pub async fn checkpoint(&self) -> Result<()> {
        self.maintain("CHECKPOINT").await
    }

    /// Vacuums all tables, for the same reason.
    pub async fn vacuum(&self) -> Result<()> {
        self.maintain("VACUUM (ANALYZE)").await
    }

    async fn maintain(&self, statement: &str) -> Result<()> {
        let mut connection = self.connect().await?;
        execute(&mut connection, statement.to_owned()).await?;
        Ok(connection.close().await?)
    }

    /// A place of its own after [`Self::settle`], migrated.
    pub async fn fresh_place(&self, topics: &Topics) -> Result<Place> {
        self.settle().await?;
        self.new_place(topics).await
    }

    /// A place beside those that are there, migrated.
    pub async fn new_place(&self, topics: &Topics) -> Result<Place> {
        let place = self.place(topics);
        let store = open_store(&self.config(&place)?);
        store.migrate().await?;
        store.close().await;
        self.checkpoint().await?;
        Ok(place)
    }

    /// Drops what is stored at a place.
    pub async fn remove(&self, place: Place) -> Result<()> {
        drop_schema(&mut self.connect().await?, &place.schema).await
    }

    fn place(&self, topics: &Topics) -> Place {
        let name = format!("{PREFIX}{}", self.places.fetch_add(1, Ordering::Relaxed));
        let mut settings = vec![
            ("SESSIONFOLD_KAFKA__BROKERS".to_owned(), self.brokers()),
            (TOPICS.to_owned(), topics.names().join(",")),
            ("SESSIONFOLD_KAFKA__GROUP_ID".to_owned(), name.clone()),
            // The broker waits half of this before it first assigns partitions.
            ("SESSIONFOLD_KAFKA__CLIENT__SESSION_TIMEOUT_MS".to_owned(), "6000".to_owned()),
            ("SESSIONFOLD_POSTGRES__URL".to_owned(), self.postgres_url()),
            ("SESSIONFOLD_POSTGRES__SCHEMA".to_owned(), name.clone()),
            ("SESSIONFOLD_LOG__FILTER".to_owned(), "error".to_owned()),
        ];
        if let Some(batch) = self.batch {
            settings.push(("SESSIONFOLD_BATCH__MAX_EVENTS".to_owned(), batch.to_string()));
        }
        Place { schema: name.clone(), group: name, settings }
    }

    /// The settings that the program has at this place.
    pub fn config(&self, place: &Place) -> Result<Config> {
        let sources = Sources { environment: place.settings.clone(), flags: self.set.clone(), ..Sources::default() };
        Config::load(sources).context("the settings of the program")
    }

    /// The settings where the place doesn't matter.
    pub fn common_config(&self, topics: &Topics) -> Result<Config> {
        self.config(&self.place(topics))
    }

    /// What the command line said with `--set`.
    pub fn set(&self) -> &[String] {
        &self.set
    }
}

async fn drop_schema(connection: &mut PgConnection, schema: &str) -> Result<()> {
    execute(connection, format!("DROP SCHEMA {schema} CASCADE")).await
}

/// Runs a statement that is put together here, from names of our own.
pub async fn execute(connection: &mut PgConnection, statement: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
