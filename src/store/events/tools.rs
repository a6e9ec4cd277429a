//! The table `tool_executions`.

use sqlx::{PgConnection, postgres::PgRow};
use uuid::Uuid;

use crate::{
    event::{Body, DurationMs, Event, RedactedText, Tool, ToolName, prefetched},
    store::{
        copy::{RowWriter, copy_in, pays},
        error::StoreError,
    },
};

use super::{CommonColumns, LEAST_ROW, NewRow, StoredEvent, StoredRow, Unreadable, for_each_row};

/// The columns of an event, in the order in which they are bound: the common ones first.
macro_rules! columns {
    () => {
        concat!(common_columns!(), ", tool_execution_id, tool_name, success, duration_ms, summary")
    };
}

/// All columns, in the order in which they are copied.
macro_rules! stored_columns {
    () => {
        concat!(columns!(), ", arrival")
    };
}

macro_rules! rows {
    () => {
        concat!(
            "(SELECT ",
            common_values!(),
            ", unnest($8::uuid[]), unnest($9::text[]), unnest($10::boolean[]), unnest($11::int[]), ",
            "unnest($12::text[]), unnest($13::bigint[])) AS n(",
            stored_columns!(),
            ")"
        )
    };
}

pub(super) const INSERT: &str = concat!(
    "/* insert_tool_executions */ INSERT INTO tool_executions (",
    stored_columns!(),
    ") SELECT * FROM ",
    rows!()
);

const COPY: &str =
    concat!("/* copy_tool_executions */ COPY tool_executions (", stored_columns!(), ") FROM STDIN (FORMAT binary)");

pub(super) const REPLACE: &str = concat!(
    "/* replace_tool_executions */
    UPDATE tool_executions t SET emitted_at = n.emitted_at, tool_name = n.tool_name, success = n.success,
        duration_ms = n.duration_ms, summary = n.summary, entity_id = n.entity_id, correlation_id = n.correlation_id,
        causation_id = n.causation_id, task_id = n.task_id, action_description = n.action_description
    FROM ",
    rows!(),
    " WHERE t.session_id = n.session_id AND t.tool_execution_id = n.tool_execution_id"
);

pub(super) const FIND: &str = concat!(
    "/* find_tool_executions */ SELECT ",
    stored_columns!(),
    " FROM unnest($1::text[], $2::uuid[]) AS k(key_session_id, key_tool_execution_id)
    JOIN tool_executions ON session_id = key_session_id AND tool_execution_id = key_tool_execution_id"
);

pub(super) const OF_SESSIONS: &str = concat!(
    "/* tool_executions_of_sessions */ SELECT ",
    stored_columns!(),
    " FROM tool_executions WHERE session_id = ANY($1::text[])"
);

#[derive(Default)]
struct Columns<'a> {
    common: CommonColumns<'a>,
    tool_execution_id: Vec<Uuid>,
    tool_name: Vec<&'a str>,
    success: Vec<bool>,
    duration_ms: Vec<Option<i32>>,
    summary: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(rows: impl Iterator<Item = NewRow<'a>>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            if let Body::Tool(tool) = &row.event.body {
                columns.common.push(row);
                columns.tool_execution_id.push(tool.tool_execution_id);
                columns.tool_name.push(tool.tool_name.as_str());
                columns.success.push(tool.success);
                columns.duration_ms.push(tool.duration_ms.map(DurationMs::get));
                columns.summary.push(tool.summary.as_ref().map(RedactedText::as_str));
            }
        }
        columns
    }
}

/// Adds tool executions.
pub(super) async fn insert(connection: &mut PgConnection, rows: &[NewRow<'_>]) -> Result<(), StoreError> {
    if pays(rows.len() * LEAST_ROW) {
        return copy(connection, rows).await;
    }
    write(INSERT, connection, rows.iter().copied()).await
}

async fn copy(connection: &mut PgConnection, rows: &[NewRow<'_>]) -> Result<(), StoreError> {
    let own = prefetched(rows, |row| row.event).filter_map(|new| match &new.event.body {
        Body::Tool(tool) => Some((new, tool)),
        _ => None,
    });
    copy_in(connection, COPY, own, |row, (new, tool)| {
        new.write_common(row);
        row.uuid(tool.tool_execution_id);
        row.text(tool.tool_name.as_str());
        row.boolean(tool.success);
        row.nullable(tool.duration_ms.map(DurationMs::get), RowWriter::integer);
        row.nullable(tool.summary.as_ref().map(RedactedText::as_str), RowWriter::text);
        row.nullable(new.arrival, RowWriter::bigint);
    })
    .await?;
    Ok(())
}

/// Puts the tool executions among these events in the place of stored ones.
pub(super) async fn replace(connection: &mut PgConnection, events: &[&Event]) -> Result<(), StoreError> {
    write(REPLACE, connection, events.iter().copied().map(NewRow::of)).await
}

/// Runs [`INSERT`] or [`REPLACE`].
async fn write(
    statement: &'static str,
    connection: &mut PgConnection,
    rows: impl Iterator<Item = NewRow<'_>>,
) -> Result<(), StoreError> {
    let columns = Columns::of(rows);
    if columns.tool_execution_id.is_empty() {
        return Ok(());
    }
    let query = columns
        .common
        .bind(sqlx::query(statement))
        .bind(&columns.tool_execution_id)
        .bind(&columns.tool_name)
        .bind(&columns.success)
        .bind(&columns.duration_ms)
        .bind(&columns.summary)
        .bind(&columns.common.arrival);
    query.execute(connection).await?;
    Ok(())
}

pub(super) async fn find(
    connection: &mut PgConnection,
    events: &[&Event],
    take: impl FnMut(&str, Result<StoredEvent, Unreadable>),
) -> Result<(), StoreError> {
    let columns = Columns::of(events.iter().copied().map(NewRow::of));
    if columns.tool_execution_id.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(FIND).bind(&columns.common.session_id).bind(&columns.tool_execution_id);
    for_each_row(query, connection, read, take).await
}

pub(super) fn read(row: &PgRow) -> Result<StoredEvent, Unreadable> {
    let row = StoredRow { table: "tool_executions", row };
    row.event(Body::Tool(Tool {
        tool_execution_id: row.get("tool_execution_id")?,
        tool_name: row.parse("tool_name", |name: String| ToolName::parse(name))?,
        success: row.get("success")?,
        duration_ms: row.nullable("duration_ms", |millis: i32| DurationMs::new(millis.into()))?,
        summary: row.get::<Option<String>>("summary")?.map(RedactedText::stored),
    }))
}
