//! The table `prompts`.

use sqlx::{PgConnection, postgres::PgRow};
use uuid::Uuid;

use crate::{
    event::{Body, Count, Event, Prompt, RedactedText, prefetched},
    store::{
        copy::{RowWriter, copy_in, pays},
        error::StoreError,
    },
};

use super::{CommonColumns, LEAST_ROW, NewRow, StoredEvent, StoredRow, Unreadable, for_each_row};

/// The columns of an event, in the order in which they are bound: the common ones first.
macro_rules! columns {
    () => {
        concat!(common_columns!(), ", prompt_id, prompt_preview, prompt_length, detected_intent")
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
            ", unnest($8::uuid[]), unnest($9::text[]), unnest($10::bigint[]), unnest($11::text[]), ",
            "unnest($12::bigint[])) AS n(",
            stored_columns!(),
            ")"
        )
    };
}

pub(super) const INSERT: &str =
    concat!("/* insert_prompts */ INSERT INTO prompts (", stored_columns!(), ") SELECT * FROM ", rows!());

const COPY: &str = concat!("/* copy_prompts */ COPY prompts (", stored_columns!(), ") FROM STDIN (FORMAT binary)");

pub(super) const REPLACE: &str = concat!(
    "/* replace_prompts */
    UPDATE prompts p SET emitted_at = n.emitted_at, prompt_preview = n.prompt_preview, prompt_length = n.prompt_length,
        detected_intent = n.detected_intent, entity_id = n.entity_id, correlation_id = n.correlation_id,
        causation_id = n.causation_id, task_id = n.task_id, action_description = n.action_description
    FROM ",
    rows!(),
    " WHERE p.session_id = n.session_id AND p.prompt_id = n.prompt_id"
);

pub(super) const FIND: &str = concat!(
    "/* find_prompts */ SELECT ",
    stored_columns!(),
    " FROM unnest($1::text[], $2::uuid[]) AS k(key_session_id, key_prompt_id)
    JOIN prompts ON session_id = key_session_id AND prompt_id = key_prompt_id"
);

pub(super) const OF_SESSIONS: &str =
    concat!("/* prompts_of_sessions */ SELECT ", stored_columns!(), " FROM prompts WHERE session_id = ANY($1::text[])");

#[derive(Default)]
struct Columns<'a> {
    common: CommonColumns<'a>,
    prompt_id: Vec<Uuid>,
    prompt_preview: Vec<&'a str>,
    prompt_length: Vec<i64>,
    detected_intent: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(rows: impl Iterator<Item = NewRow<'a>>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            if let Body::Prompt(prompt) = &row.event.body {
                columns.common.push(row);
                columns.prompt_id.push(prompt.prompt_id);
                columns.prompt_preview.push(prompt.prompt_preview.as_str());
                columns.prompt_length.push(prompt.prompt_length.get());
                columns.detected_intent.push(prompt.detected_intent.as_ref().map(RedactedText::as_str));
            }
        }
        columns
    }
}

/// Adds prompts.
pub(super) async fn insert(connection: &mut PgConnection, rows: &[NewRow<'_>]) -> Result<(), StoreError> {
    if pays(rows.len() * LEAST_ROW) {
        return copy(connection, rows).await;
    }
    write(INSERT, connection, rows.iter().copied()).await
}

async fn copy(connection: &mut PgConnection, rows: &[NewRow<'_>]) -> Result<(), StoreError> {
    let own = prefetched(rows, |row| row.event).filter_map(|new| match &new.event.body {
        Body::Prompt(prompt) => Some((new, prompt)),
        _ => None,
    });
    copy_in(connection, COPY, own, |row, (new, prompt)| {
        new.write_common(row);
        row.uuid(prompt.prompt_id);
        row.text(prompt.prompt_preview.as_str());
        row.bigint(prompt.prompt_length.get());
        row.nullable(prompt.detected_intent.as_ref().map(RedactedText::as_str), RowWriter::text);
        row.nullable(new.arrival, RowWriter::bigint);
    })
    .await?;
    Ok(())
}

/// Puts the prompts among these events in the place of stored ones.
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
    if columns.prompt_id.is_empty() {
        return Ok(());
    }
    let query = columns
        .common
        .bind(sqlx::query(statement))
        .bind(&columns.prompt_id)
        .bind(&columns.prompt_preview)
        .bind(&columns.prompt_length)
        .bind(&columns.detected_intent)
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
    if columns.prompt_id.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(FIND).bind(&columns.common.session_id).bind(&columns.prompt_id);
    for_each_row(query, connection, read, take).await
}

pub(super) fn read(row: &PgRow) -> Result<StoredEvent, Unreadable> {
    let row = StoredRow { table: "prompts", row };
    row.event(Body::Prompt(Prompt {
        prompt_id: row.get("prompt_id")?,
        prompt_preview: RedactedText::stored(row.get("prompt_preview")?),
        prompt_length: row.parse("prompt_length", Count::new)?,
        detected_intent: row.get::<Option<String>>("detected_intent")?.map(RedactedText::stored),
    }))
}
