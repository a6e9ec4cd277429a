//! The rows of `prompts`, `tool_executions` and `lifecycle_events`: written from events, and read back as events.

/// The columns that all three tables have, in the order of [`CommonColumns::bind`].
macro_rules! common_columns {
    () => {
        "session_id, emitted_at, entity_id, correlation_id, causation_id, task_id, action_description"
    };
}

/// Their values, a row at a time: in FROM, Postgres would put each array's elements into a store of its own first.
macro_rules! common_values {
    () => {
        concat!(
            "unnest($1::text[]), unnest($2::timestamptz[]), unnest($3::uuid[]), unnest($4::uuid[]), ",
            "unnest($5::uuid[]), unnest($6::text[]), unnest($7::text[])",
        )
    };
}

mod lifecycle;
mod prompts;
mod tools;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::{
    PgConnection, Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use uuid::Uuid;

use crate::event::{Body, Event, EventKind, EventTime, RedactedText, SessionId, TaskId};

use super::{copy::RowWriter, error::StoreError};

/// Every statement of these tables that can be prepared, which a COPY can't: its columns are those of the INSERT.
pub(super) const STATEMENTS: [&str; 12] = [
    prompts::INSERT,
    prompts::REPLACE,
    prompts::FIND,
    prompts::OF_SESSIONS,
    tools::INSERT,
    tools::REPLACE,
    tools::FIND,
    tools::OF_SESSIONS,
    lifecycle::INSERT,
    lifecycle::REPLACE,
    lifecycle::FIND,
    lifecycle::OF_SESSIONS,
];

/// An event on its way to its table.
#[derive(Clone, Copy)]
pub(super) struct NewRow<'a> {
    pub(super) event: &'a Event,
    /// Where it stands in the session's order of arrival, if anybody asks.
    pub(super) arrival: Option<i64>,
}

impl<'a> NewRow<'a> {
    fn of(event: &'a Event) -> Self {
        Self { event, arrival: None }
    }

    /// Writes the columns that all three tables have.
    fn write_common(&self, row: &mut RowWriter<'_>) {
        let event = self.event;
        row.text(event.session_id.as_str());
        row.timestamptz(event.emitted_at.as_utc());
        row.uuid(event.entity_id);
        row.uuid(event.correlation_id);
        row.uuid(event.causation_id);
        row.nullable(event.task_id.as_ref().map(TaskId::as_str), RowWriter::text);
        row.text(event.action_description.as_str());
    }
}

/// Rows by their tables, so that each table's insert looks at no others' events: they lie all over the memory.
#[derive(Default)]
pub(super) struct NewRows<'a> {
    prompts: Vec<NewRow<'a>>,
    tools: Vec<NewRow<'a>>,
    lifecycle: Vec<NewRow<'a>>,
}

impl<'a> FromIterator<NewRow<'a>> for NewRows<'a> {
    fn from_iter<I: IntoIterator<Item = NewRow<'a>>>(rows: I) -> Self {
        let mut by_table = Self::default();
        for row in rows {
            let table = match row.event.body {
                Body::Prompt(_) => &mut by_table.prompts,
                Body::Tool(_) => &mut by_table.tools,
                Body::Started(_) | Body::Ended(_) => &mut by_table.lifecycle,
            };
            table.push(row);
        }
        by_table
    }
}

/// An event as it was read.
pub(super) struct StoredEvent {
    pub(super) event: Event,
    /// See [`NewRow::arrival`].
    pub(super) arrival: Option<i64>,
}

/// A stored value that this build can't have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreadable {
    pub table: &'static str,
    pub column: &'static str,
}

impl From<Unreadable> for StoreError {
    fn from(Unreadable { table, column }: Unreadable) -> Self {
        StoreError::corrupt(table, column)
    }
}

/// No row of an event has fewer bytes in a COPY.
const LEAST_ROW: usize = 120;

/// Adds events that are not stored yet. Their sessions' rows were written before, in this transaction.
pub(super) async fn insert(connection: &mut PgConnection, rows: &NewRows<'_>) -> Result<(), StoreError> {
    prompts::insert(connection, &rows.prompts).await?;
    tools::insert(connection, &rows.tools).await?;
    lifecycle::insert(connection, &rows.lifecycle).await
}

/// Puts events in the place of stored ones with the same keys.
pub(super) async fn replace(connection: &mut PgConnection, events: &[&Event]) -> Result<(), StoreError> {
    prompts::replace(connection, events).await?;
    tools::replace(connection, events).await?;
    lifecycle::replace(connection, events).await
}

/// Hands over the stored events that have the same keys as these.
pub(super) async fn find(
    connection: &mut PgConnection,
    events: &[&Event],
    take: impl FnMut(StoredEvent),
) -> Result<(), StoreError> {
    let mut readable = Readable { take, unreadable: None };
    prompts::find(connection, events, |_, stored| readable.take(stored)).await?;
    tools::find(connection, events, |_, stored| readable.take(stored)).await?;
    lifecycle::find(connection, events, |_, stored| readable.take(stored)).await?;
    readable.finish()
}

/// Hands over all stored events of these sessions, one at a time.
pub(super) async fn for_each_of_sessions(
    connection: &mut PgConnection,
    sessions: &[&str],
    take: impl FnMut(StoredEvent),
) -> Result<(), StoreError> {
    let mut readable = Readable { take, unreadable: None };
    for_each_readable(connection, sessions, |_, stored| readable.take(stored)).await?;
    readable.finish()
}

/// Hands events over, and remembers that one couldn't be read.
struct Readable<F> {
    take: F,
    unreadable: Option<Unreadable>,
}

impl<F: FnMut(StoredEvent)> Readable<F> {
    fn take(&mut self, stored: Result<StoredEvent, Unreadable>) {
        match stored {
            Ok(stored) => (self.take)(stored),
            Err(unreadable) => self.unreadable = Some(unreadable),
        }
    }

    fn finish(self) -> Result<(), StoreError> {
        self.unreadable.map_or(Ok(()), |unreadable| Err(unreadable.into()))
    }
}

/// The same, and goes on behind an event that can't be read. Also hands over the session's id.
pub(super) async fn for_each_readable(
    connection: &mut PgConnection,
    sessions: &[&str],
    mut take: impl FnMut(&str, Result<StoredEvent, Unreadable>),
) -> Result<(), StoreError> {
    for_each_row(sqlx::query(prompts::OF_SESSIONS).bind(sessions), connection, prompts::read, &mut take).await?;
    for_each_row(sqlx::query(tools::OF_SESSIONS).bind(sessions), connection, tools::read, &mut take).await?;
    for_each_row(sqlx::query(lifecycle::OF_SESSIONS).bind(sessions), connection, lifecycle::read, &mut take).await
}

/// Reads an event of this kind from a row that has the columns of its table.
pub(super) fn read(kind: EventKind, row: &PgRow) -> Result<Event, Unreadable> {
    let stored = match kind {
        EventKind::Started | EventKind::Ended => lifecycle::read(row),
        EventKind::Prompt => prompts::read(row),
        EventKind::Tool => tools::read(row),
    };
    stored.map(|stored| stored.event)
}

/// A statement with its arguments.
type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// The columns that all three tables have, a vector a column.
#[derive(Default)]
struct CommonColumns<'a> {
    session_id: Vec<&'a str>,
    emitted_at: Vec<DateTime<Utc>>,
    entity_id: Vec<Uuid>,
    correlation_id: Vec<Uuid>,
    causation_id: Vec<Uuid>,
    task_id: Vec<Option<&'a str>>,
    action_description: Vec<&'a str>,
    arrival: Vec<Option<i64>>,
}

impl<'a> CommonColumns<'a> {
    fn push(&mut self, row: NewRow<'a>) {
        let event = row.event;
        self.session_id.push(event.session_id.as_str());
        self.emitted_at.push(event.emitted_at.as_utc());
        self.entity_id.push(event.entity_id);
        self.correlation_id.push(event.correlation_id);
        self.causation_id.push(event.causation_id);
        self.task_id.push(event.task_id.as_ref().map(TaskId::as_str));
        self.action_description.push(event.action_description.as_str());
        self.arrival.push(row.arrival);
    }

    /// Binds `$1` to `$7`, which is all but the last column.
    fn bind<'q>(&'q self, query: Statement<'q>) -> Statement<'q> {
        query
            .bind(&self.session_id)
            .bind(&self.emitted_at)
            .bind(&self.entity_id)
            .bind(&self.correlation_id)
            .bind(&self.causation_id)
            .bind(&self.task_id)
            .bind(&self.action_description)
    }
}

/// A stored row on its way to an event.
struct StoredRow<'r> {
    table: &'static str,
    row: &'r PgRow,
}

impl<'r> StoredRow<'r> {
    fn get<T: sqlx::Type<Postgres> + sqlx::Decode<'r, Postgres>>(&self, column: &'static str) -> Result<T, Unreadable> {
        self.row.try_get(column).map_err(|_| self.unreadable(column))
    }

    /// A column whose values obey a rule of the domain, which they did when they were written.
    fn parse<T, P, E>(&self, column: &'static str, parse: impl FnOnce(T) -> Result<P, E>) -> Result<P, Unreadable>
    where
        T: sqlx::Type<Postgres> + sqlx::Decode<'r, Postgres>,
    {
        parse(self.get(column)?).map_err(|_| self.unreadable(column))
    }

    fn nullable<T, P, E>(
        &self,
        column: &'static str,
        parse: impl FnOnce(T) -> Result<P, E>,
    ) -> Result<Option<P>, Unreadable>
    where
        T: sqlx::Type<Postgres> + sqlx::Decode<'r, Postgres>,
    {
        self.parse(column, |value: Option<T>| value.map(parse).transpose())
    }

    fn unreadable(&self, column: &'static str) -> Unreadable {
        Unreadable { table: self.table, column }
    }

    fn event(&self, body: Body) -> Result<StoredEvent, Unreadable> {
        let event = Event {
            session_id: self.parse("session_id", SessionId::parse)?,
            entity_id: self.get("entity_id")?,
            correlation_id: self.get("correlation_id")?,
            causation_id: self.get("causation_id")?,
            emitted_at: self.parse("emitted_at", EventTime::from_utc)?,
            task_id: self.nullable("task_id", |task: String| TaskId::parse(task))?,
            action_description: RedactedText::stored(self.get("action_description")?),
            body,
        };
        Ok(StoredEvent { event, arrival: self.get("arrival")? })
    }
}

/// Streams a query's rows as events.
async fn for_each_row(
    query: Statement<'_>,
    connection: &mut PgConnection,
    read: fn(&PgRow) -> Result<StoredEvent, Unreadable>,
    mut take: impl FnMut(&str, Result<StoredEvent, Unreadable>),
) -> Result<(), StoreError> {
    let mut rows = query.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        take(row.try_get("session_id")?, read(&row));
    }
    Ok(())
}
