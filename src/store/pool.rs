//! Connections to Postgres, set up for what the hot path does.

use std::time::Duration;

use sqlx::{
    ConnectOptions, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::breaker::BreakerOptions;

/// How to connect, and when to leave Postgres alone.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    pub connect: PgConnectOptions,
    /// A valid, unquoted identifier; it becomes the connection's whole search path.
    pub schema: String,
    pub max_connections: u32,
    /// How long to wait for a connection, in all.
    pub connect_timeout: Duration,
    /// After how long Postgres gives up on a statement, unless its transaction says otherwise.
    pub statement_timeout: Duration,
    pub breaker: BreakerOptions,
}

/// The connections of a pool as they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolReport {
    /// Open now, in use or not.
    pub open: u32,
    pub idle: usize,
    pub max: u32,
}

impl PoolReport {
    pub(super) fn of(pool: &PgPool) -> Self {
        Self { open: pool.size(), idle: pool.num_idle(), max: pool.options().get_max_connections() }
    }
}

pub(super) fn open(options: &PoolOptions) -> PgPool {
    let connect = options.connect.clone().options([
        ("search_path", options.schema.as_str()),
        // Should this host vanish inside a transaction, its locks must not outlive it by the hours of TCP's defaults.
        ("idle_in_transaction_session_timeout", "60s"),
        ("tcp_keepalives_idle", "30"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "3"),
        // sqlx would log notices, and those of a trigger may quote rows.
        ("client_min_messages", "error"),
        // Tables grow by millions of rows while a statement stays prepared: a plan made for an empty table must not
        // be kept. (A batch's transaction keeps its own, see `commit.rs`.)
        ("plan_cache_mode", "force_custom_plan"),
        // Every join of the hot path looks up a batch's keys in an index. Scanning and hashing a table instead would
        // cost more the longer its history is.
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("enable_seqscan", "off"),
        // What can't do without a scan counts as so expensive by that, that Postgres would compile it, for 40 ms and more.
        ("jit", "off"),
    ]);
    // sqlx would log statements, with all their text, that wait for a lock or take a second.
    let connect = connect.disable_statement_logging();
    PgPoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.connect_timeout)
        .connect_lazy_with(connect)
}
