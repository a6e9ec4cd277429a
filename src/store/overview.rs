//! What stands in the tables, at a glance.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    Store,
    error::StoreError,
    transaction::{Isolation, TransactionSpec},
};

pub(super) const SESSIONS_BY_STATUS: &str = "/* sessions_by_status */
    SELECT status, count(*) FROM sessions GROUP BY status ORDER BY status";

pub(super) const DEAD_LETTERS_BY_REASON: &str = "/* dead_letters_by_reason */
    SELECT reason, count(*) FROM dead_letters WHERE status = 'open' GROUP BY reason ORDER BY reason";

/// One of each status first, so that a few rows show what there is.
pub(super) const EXAMPLES: &str = "/* example_sessions */
    SELECT session_id, status, started_at, ended_at, end_reason, working_directory, git_branch, prompt_count,
        tool_count, tool_failure_count, event_count
    FROM (
        SELECT *, row_number() OVER (PARTITION BY status ORDER BY event_count DESC, session_id) AS rank FROM sessions
    ) AS ranked
    ORDER BY rank, status
    LIMIT $1";

const SPEC: TransactionSpec = TransactionSpec {
    name: "overview",
    isolation: Isolation::RepeatableRead,
    read_only: true,
    statement_timeout: None,
};

/// How many rows of each kind there are, and a few of them.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    pub sessions_by_status: Vec<(String, i64)>,
    /// Of those that are open.
    pub dead_letters_by_reason: Vec<(String, i64)>,
    pub examples: Vec<ExampleSession>,
}

/// Some columns of a session.
#[derive(Clone, Debug)]
pub struct ExampleSession {
    pub session_id: String,
    pub status: String,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub end_reason: Option<String>,
    pub working_directory: Option<String>,
    pub git_branch: Option<String>,
    pub prompt_count: i64,
    pub tool_count: i64,
    pub tool_failure_count: i64,
    pub event_count: i64,
}

type ExampleRow = (
    String,
    String,
    Option<DateTime<Utc>>,
    Option<DateTime<Utc>>,
    Option<String>,
    Option<String>,
    Option<String>,
    i64,
    i64,
    i64,
    i64,
);

impl Store {
    /// Reads whole tables: for a demo or a look, not for a dashboard.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn overview(&self, examples: u32) -> Result<Overview, StoreError> {
        self.transactions.run(&SPEC, async |connection| read(connection, examples).await).await
    }
}

async fn read(connection: &mut PgConnection, examples: u32) -> Result<Overview, StoreError> {
    let sessions_by_status = sqlx::query_as(SESSIONS_BY_STATUS).fetch_all(&mut *connection).await?;
    let dead_letters_by_reason = sqlx::query_as(DEAD_LETTERS_BY_REASON).fetch_all(&mut *connection).await?;
    let rows: Vec<ExampleRow> = sqlx::query_as(EXAMPLES).bind(i64::from(examples)).fetch_all(connection).await?;
    Ok(Overview { sessions_by_status, dead_letters_by_reason, examples: rows.into_iter().map(example).collect() })
}

fn example(row: ExampleRow) -> ExampleSession {
    ExampleSession {
        session_id: row.0,
        status: row.1,
        started_at: row.2,
        ended_at: row.3,
        end_reason: row.4,
        working_directory: row.5,
        git_branch: row.6,
        prompt_count: row.7,
        tool_count: row.8,
        tool_failure_count: row.9,
        event_count: row.10,
    }
}
