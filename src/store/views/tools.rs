//! Which tools were used how often, how well and for how long.

use serde::Serialize;
use sqlx::{PgConnection, postgres::PgRow};

use crate::store::{Store, error::StoreError};

use super::{
    VIEW,
    list::PageSize,
    range::{TimeRange, free_plan},
    session::ViewRow,
};

/// Those with the most executions first. Percentiles are durations that occurred.
const USAGE: &str = concat!(
    "/* tool_usage */
    SELECT t.tool_name, count(*) AS calls, count(*) FILTER (WHERE NOT t.success) AS failures,
        count(DISTINCT t.session_id) AS sessions, count(t.duration_ms) AS timed_calls,
        percentile_disc(0.5) WITHIN GROUP (ORDER BY t.duration_ms) AS p50_ms,
        percentile_disc(0.95) WITHIN GROUP (ORDER BY t.duration_ms) AS p95_ms, max(t.duration_ms) AS max_ms
    ",
    executions_in_range!(),
    " AND ($3::text IS NULL OR t.tool_name = $3)
    GROUP BY t.tool_name
    ORDER BY calls DESC, t.tool_name COLLATE \"C\"
    LIMIT $4"
);

pub(super) const STATEMENTS: [&str; 1] = [USAGE];

/// The executions of one tool. Durations are in milliseconds, of those that told one; none where none did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolUsage {
    pub tool_name: String,
    pub calls: i64,
    pub failures: i64,
    /// In which it was executed.
    pub sessions: i64,
    /// With a duration.
    pub timed_calls: i64,
    pub p50_ms: Option<i32>,
    pub p95_ms: Option<i32>,
    pub max_ms: Option<i32>,
}

impl ToolUsage {
    fn read(row: &PgRow) -> Result<Self, StoreError> {
        let row = ViewRow { table: "tool_executions", row };
        Ok(Self {
            tool_name: row.get("tool_name")?,
            calls: row.get("calls")?,
            failures: row.get("failures")?,
            sessions: row.get("sessions")?,
            timed_calls: row.get("timed_calls")?,
            p50_ms: row.get("p50_ms")?,
            p95_ms: row.get("p95_ms")?,
            max_ms: row.get("max_ms")?,
        })
    }
}

impl Store {
    /// The tools that were executed most in this time, or this one of them; and whether there are others.
    ///
    /// # Errors
    /// If Postgres can't be asked, or takes too long.
    pub async fn tool_usage(
        &self,
        range: TimeRange,
        tool: Option<&str>,
        size: PageSize,
    ) -> Result<(Vec<ToolUsage>, bool), StoreError> {
        let body = async |connection: &mut PgConnection| {
            free_plan(connection).await?;
            let query = sqlx::query(USAGE).bind(range.from().as_utc()).bind(range.to().as_utc()).bind(tool);
            let rows = query.bind(size.and_one_more()).fetch_all(connection).await?;
            rows.iter().map(ToolUsage::read).collect::<Result<Vec<_>, StoreError>>()
        };
        let mut tools = self.transactions.run(&VIEW, body).await?;
        let more = tools.len() > size.get();
        tools.truncate(size.get());
        Ok((tools, more))
    }
}
