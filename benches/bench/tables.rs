//! The rows that a drain leaves, as they are counted and copied.

use anyhow::Result;
use sqlx::{AssertSqlSafe, PgConnection};

/// What a batch writes, but for the checkpoints: a few rows.
pub const WRITTEN: [&str; 6] =
    ["sessions", "prompts", "tool_executions", "lifecycle_events", "transitions", "dead_letters"];

/// Those whose rows are a function of the records. How often a session changed its status on the way depends on where
/// batches end.
const SAME_EACH_TIME: [&str; 5] = ["sessions", "prompts", "tool_executions", "lifecycle_events", "dead_letters"];

/// The number of rows of each table whose rows are the same after each drain.
pub async fn row_counts(connection: &mut PgConnection) -> Result<Vec<(&'static str, i64)>> {
    let mut counts = Vec::new();
    for table in SAME_EACH_TIME {
        let count = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        counts.push((table, sqlx::query_scalar(count).fetch_one(&mut *connection).await?));
    }
    Ok(counts)
}

/// The columns that can be written, in their order, separated by commas.
pub async fn columns(connection: &mut PgConnection, schema: &str, table: &str) -> Result<String> {
    let columns = "SELECT string_agg(column_name, ', ' ORDER BY ordinal_position) FROM information_schema.columns
        WHERE table_schema = $1 AND table_name = $2 AND is_generated = 'NEVER'";
    Ok(sqlx::query_scalar(columns).bind(schema).bind(table).fetch_one(connection).await?)
}
