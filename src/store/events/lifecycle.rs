//! The table `lifecycle_events`: starts and ends.

use sqlx::{PgConnection, postgres::PgRow};

use crate::{
    event::{Body, Count, DurationSeconds, EndReason, Ended, Event, HookSource, Started, Text, prefetched},
    store::{
        copy::{RowWriter, copy_in, pays},
        error::StoreError,
    },
};

use super::{CommonColumns, LEAST_ROW, NewRow, StoredEvent, StoredRow, Unreadable, for_each_row};

const STARTED: &str = "started";
const ENDED: &str = "ended";

/// The columns of an event, in the order in which they are bound: the common ones first.
macro_rules! columns {
    () => {
        concat!(
            common_columns!(),
            ", kind, working_directory, git_branch, hook_source, reason, duration_seconds, tools_used_count"
        )
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
            ", unnest($8::text[]), unnest($9::text[]), unnest($10::text[]), unnest($11::text[]), ",
            "unnest($12::text[]), unnest($13::double precision[]), unnest($14::bigint[]), ",
            "unnest($15::bigint[])) AS n(",
            stored_columns!(),
            ")"
        )
    };
}

pub(super) const INSERT: &str = concat!(
    "/* insert_lifecycle_events */ INSERT INTO lifecycle_events (",
    stored_columns!(),
    ") SELECT * FROM ",
    rows!()
);

const COPY: &str =
    concat!("/* copy_lifecycle_events */ COPY lifecycle_events (", stored_columns!(), ") FROM STDIN (FORMAT binary)");

pub(super) const REPLACE: &str = concat!(
    "/* replace_lifecycle_events */
    UPDATE lifecycle_events l SET working_directory = n.working_directory, git_branch = n.git_branch,
        hook_source = n.hook_source, reason = n.reason, duration_seconds = n.duration_seconds,
        tools_used_count = n.tools_used_count, entity_id = n.entity_id, correlation_id = n.correlation_id,
        task_id = n.task_id, action_description = n.action_description
    FROM ",
    rows!(),
    " WHERE l.session_id = n.session_id AND l.kind = n.kind AND l.emitted_at = n.emitted_at
        AND l.causation_id = n.causation_id"
);

pub(super) const FIND: &str = concat!(
    "/* find_lifecycle_events */ SELECT ",
    stored_columns!(),
    " FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[]) AS k(key_session_id, key_kind, key_emitted_at, key_causation_id)
    JOIN lifecycle_events ON session_id = key_session_id AND kind = key_kind AND emitted_at = key_emitted_at AND causation_id = key_causation_id"
);

pub(super) const OF_SESSIONS: &str = concat!(
    "/* lifecycle_events_of_sessions */ SELECT ",
    stored_columns!(),
    " FROM lifecycle_events WHERE session_id = ANY($1::text[])"
);

#[derive(Default)]
struct Columns<'a> {
    common: CommonColumns<'a>,
    kind: Vec<&'static str>,
    working_directory: Vec<Option<&'a str>>,
    git_branch: Vec<Option<&'a str>>,
    hook_source: Vec<Option<&'static str>>,
    reason: Vec<Option<&'static str>>,
    duration_seconds: Vec<Option<f64>>,
    tools_used_count: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    fn of(rows: impl Iterator<Item = NewRow<'a>>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            if let Some((started, ended)) = lifecycle(row.event) {
                columns.common.push(row);
                columns.push(started, ended);
            }
        }
        columns
    }

    fn push(&mut self, started: Option<&'a Started>, ended: Option<&'a Ended>) {
        self.kind.push(if started.is_some() { STARTED } else { ENDED });
        self.working_directory.push(started.map(|started| started.working_directory.as_str()));
        self.git_branch.push(started.and_then(|started| started.git_branch.as_ref()).map(Text::as_str));
        self.hook_source.push(started.map(|started| started.hook_source.as_str()));
        self.reason.push(ended.map(|ended| ended.reason.as_str()));
        self.duration_seconds.push(ended.and_then(|ended| ended.duration_seconds).map(DurationSeconds::get));
        self.tools_used_count.push(ended.map(|ended| ended.tools_used_count.get()));
    }
}

/// What a start or an end has of its own.
fn lifecycle(event: &Event) -> Option<(Option<&Started>, Option<&Ended>)> {
    match &event.body {
        Body::Started(started) => Some((Some(started), None)),
        Body::Ended(ended) => Some((None, Some(ended))),
        Body::Prompt(_) | Body::Tool(_) => None,
    }
}

/// Adds starts and ends.
pub(super) async fn insert(connection: &mut PgConnection, rows: &[NewRow<'_>]) -> Result<(), StoreError> {
    if pays(rows.len() * LEAST_ROW) {
        return copy(connection, rows).await;
    }
    write(INSERT, connection, rows.iter().copied()).await
}

async fn copy(connection: &mut PgConnection, rows: &[NewRow<'_>]) -> Result<(), StoreError> {
    let own = prefetched(rows, |row| row.event)
        .filter_map(|new| lifecycle(new.event).map(|(started, ended)| (new, started, ended)));
    copy_in(connection, COPY, own, |row, (new, started, ended)| {
        new.write_common(row);
        row.text(if started.is_some() { STARTED } else { ENDED });
        row.nullable(started.map(|started| started.working_directory.as_str()), RowWriter::text);
        row.nullable(started.and_then(|started| started.git_branch.as_ref()).map(Text::as_str), RowWriter::text);
        row.nullable(started.map(|started| started.hook_source.as_str()), RowWriter::text);
        row.nullable(ended.map(|ended| ended.reason.as_str()), RowWriter::text);
        let seconds = ended.and_then(|ended| ended.duration_seconds).map(DurationSeconds::get);
        row.nullable(seconds, RowWriter::double_precision);
        row.nullable(ended.map(|ended| ended.tools_used_count.get()), RowWriter::bigint);
        row.nullable(new.arrival, RowWriter::bigint);
    })
    .await?;
    Ok(())
}

/// Puts the starts and ends among these events in the place of stored ones.
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
    if columns.kind.is_empty() {
        return Ok(());
    }
    let query = columns
        .common
        .bind(sqlx::query(statement))
        .bind(&columns.kind)
        .bind(&columns.working_directory)
        .bind(&columns.git_branch)
        .bind(&columns.hook_source)
        .bind(&columns.reason)
        .bind(&columns.duration_seconds)
        .bind(&columns.tools_used_count)
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
    if columns.kind.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(FIND)
        .bind(&columns.common.session_id)
        .bind(&columns.kind)
        .bind(&columns.common.emitted_at)
        .bind(&columns.common.causation_id);
    for_each_row(query, connection, read, take).await
}

pub(super) fn read(row: &PgRow) -> Result<StoredEvent, Unreadable> {
    let row = StoredRow { table: "lifecycle_events", row };
    let body = if row.get::<String>("kind")? == STARTED { read_started(&row)? } else { read_ended(&row)? };
    row.event(body)
}

fn read_started(row: &StoredRow<'_>) -> Result<Body, Unreadable> {
    Ok(Body::Started(Started {
        working_directory: row.parse("working_directory", |directory: String| Text::parse(directory))?,
        git_branch: row.nullable("git_branch", |branch: String| Text::parse(branch))?,
        hook_source: row.parse("hook_source", |name: String| HookSource::from_name(&name).ok_or(()))?,
    }))
}

fn read_ended(row: &StoredRow<'_>) -> Result<Body, Unreadable> {
    Ok(Body::Ended(Ended {
        reason: row.parse("reason", |name: String| EndReason::from_name(&name).ok_or(()))?,
        duration_seconds: row.nullable("duration_seconds", DurationSeconds::new)?,
        tools_used_count: row.parse("tools_used_count", Count::new)?,
    }))
}
