//! The rows that a drain leaves, as they are counted and copied.

use anyhow::{Result, ensure};
use sqlx::{AssertSqlSafe, PgConnection};

/// What a batch writes, but for the checkpoints: a few rows.
pub const WRITTEN: [&str; 6] =
    ["sessions", "prompts", "tool_executions", "lifecycle_events", "transitions", "dead_letters"];

/// Those whose rows are a function of the records. How often a session changed its status on the way depends on where
/// batches end.
const SAME_EACH_TIME: [&str; 5] = ["sessions", "prompts", "tool_executions", "lifecycle_events", "dead_letters"];

/// How many rows the first drain left in each of them, as any other must.
#[derive(Default)]
pub struct FirstCounts(Option<Vec<(&'static str, i64)>>);

impl FirstCounts {
    /// Takes note of what the first one left, and compares with it what the others did.
    pub async fn check(&mut self, connection: &mut PgConnection) -> Result<()> {
        let counts = row_counts(connection).await?;
        let first = self.0.get_or_insert_with(|| counts.clone());
        ensure!(counts == *first, "rows differ between drains: {first:?}, {counts:?}");
        Ok(())
    }
}

async fn row_counts(connection: &mut PgConnection) -> Result<Vec<(&'static str, i64)>> {
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
