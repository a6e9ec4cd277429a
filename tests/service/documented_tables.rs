//! What the document of the tables says is what Postgres says of them: their comments.

use std::fmt::Write as _;

use sqlx::PgConnection;

use crate::{deployment::Deployment, documented::assert_document_has};

/// In the order in which somebody meets them.
const TABLES: [&str; 14] = [
    "sessions",
    "prompts",
    "tool_executions",
    "lifecycle_events",
    "transitions",
    "aggregates",
    "aggregators",
    "dead_letters",
    "checkpoints",
    "adopted_offsets",
    "deleted_sessions",
    "replays",
    "replay_partitions",
    "generation",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_are_documented_as_their_comments_say() {
    let deployment = Deployment::new(1).await;
    let mut connection = deployment.connect().await;
    let tables = "SELECT relname::text FROM pg_class
        WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname <> '_sqlx_migrations'";
    let mut known: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
    let mut listed = TABLES.map(str::to_owned).to_vec();
    listed.sort();
    known.sort();
    assert_eq!(listed, known, "each table is listed");
    let mut shown = String::new();
    for table in TABLES {
        describe(&mut connection, table, &mut shown).await;
    }
    assert_document_has("tables.md", "the_tables_are_documented_as_their_comments_say", &shown);
}

async fn describe(connection: &mut PgConnection, table: &str, shown: &mut String) {
    let comment: Option<String> = sqlx::query_scalar("SELECT obj_description($1::regclass)")
        .bind(table)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    let comment = comment.unwrap_or_else(|| panic!("{table} has no comment"));
    let _ = writeln!(shown, "## {table}\n\n{comment}\n\n| column | type | |\n|---|---|---|");
    let columns =
        "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, col_description(attrelid, attnum)
        FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    let columns: Vec<(String, String, bool, Option<String>)> =
        sqlx::query_as(columns).bind(table).fetch_all(connection).await.unwrap();
    for (name, kind, not_null, comment) in columns {
        let comment = comment.unwrap_or_else(|| panic!("{table}.{name} has no comment"));
        let kind = kind.replace("timestamp with time zone", "timestamptz");
        let null = if not_null { "" } else { ", or null" };
        let _ = writeln!(shown, "| `{name}` | {kind}{null} | {comment} |");
    }
    shown.push('\n');
}
