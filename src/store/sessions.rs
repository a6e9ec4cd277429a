//! The rows of `sessions`: written where the versions that they were read with still stand.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::Query, types::Json};
use uuid::Uuid;

use crate::{
    event::{EventSetDigest, EventTime, TaskId, Text},
    fold::{AggregatorId, Aggregators, SessionAggregator, SessionChange, Version},
};

use super::{
    copy::{RowWriter, copy_in, pays},
    deleted_sessions,
    error::{Failure, StoreError},
};

type ToolUsage = std::collections::BTreeMap<String, u64>;

/// The columns that a fold gives, in the order in which [`Columns::bind`] binds them.
macro_rules! folded_columns {
    () => {
        "session_id, status, correlation_id, task_id, started_at, ended_at, duration_seconds, working_directory, \
         git_branch, hook_source, end_reason, end_provenance, run_count, prompt_count, tool_count, tool_failure_count, \
         tools_used_count, tool_usage, event_count, first_event_at, last_event_at, aggregator, state, event_digest, \
         version"
    };
}

/// Their values, a row at a time: in FROM, Postgres would put each array's elements into a store of its own first, which
/// is a tenth of what a new row costs.
macro_rules! folded_rows {
    () => {
        concat!(
            "(SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::uuid[]), unnest($4::text[]), ",
            "unnest($5::timestamptz[]), unnest($6::timestamptz[]), unnest($7::double precision[]), ",
            "unnest($8::text[]), unnest($9::text[]), unnest($10::text[]), unnest($11::text[]), ",
            "unnest($12::text[]), unnest($13::bigint[]), unnest($14::bigint[]), unnest($15::bigint[]), ",
            "unnest($16::bigint[]), unnest($17::bigint[]), unnest($18::jsonb[]), unnest($19::bigint[]), ",
            "unnest($20::timestamptz[]), unnest($21::timestamptz[]), unnest($22::text[]), ",
            "unnest($23::text[])::json, unnest($24::bytea[]), unnest($25::bigint[]), unnest($27::bytea[])) AS n(",
            folded_columns!(),
            ", read_digest)"
        )
    };
}

/// Only rows whose versions still stand, and that are of the events that the fold began with. Writers that meet wait for
/// each other in the order of the ids, which is the order of the arrays: with the connection's settings (`pool.rs`)
/// Postgres looks the rows up one after the other.
pub(super) const UPDATE: &str = concat!(
    "/* update_sessions */
    UPDATE sessions s SET
        status = n.status, correlation_id = n.correlation_id, task_id = n.task_id, started_at = n.started_at,
        ended_at = n.ended_at, duration_seconds = n.duration_seconds, working_directory = n.working_directory,
        git_branch = n.git_branch, hook_source = n.hook_source, end_reason = n.end_reason,
        end_provenance = n.end_provenance, run_count = n.run_count, prompt_count = n.prompt_count,
        tool_count = n.tool_count, tool_failure_count = n.tool_failure_count, tools_used_count = n.tools_used_count,
        tool_usage = n.tool_usage, event_count = n.event_count, first_event_at = n.first_event_at,
        last_event_at = n.last_event_at, aggregator = n.aggregator, state = n.state, event_digest = n.event_digest,
        sides = $26::text[], version = n.version, updated_at = now()
    FROM ",
    folded_rows!(),
    " WHERE s.session_id = n.session_id AND s.version = n.version - 1
        AND (n.read_digest IS NULL OR s.event_digest = n.read_digest)"
);

/// Sessions that were deleted are left out.
pub(super) const INSERT: &str = concat!(
    "/* insert_sessions */ INSERT INTO sessions (",
    folded_columns!(),
    ", sides) SELECT ",
    folded_columns!(),
    ", $26::text[] FROM ",
    folded_rows!(),
    " WHERE NOT EXISTS (SELECT FROM deleted_sessions d WHERE d.session_id = n.session_id)
    ON CONFLICT (session_id) DO NOTHING"
);

/// As [`INSERT`], for many. It leaves no session out: one that is there makes it fail, and who has a tombstone is asked for
/// afterwards.
const COPY: &str =
    concat!("/* copy_sessions */ COPY sessions (", folded_columns!(), ", sides) FROM STDIN (FORMAT binary)");

/// The constraint that a session violates which is there already.
const KEY: &str = "sessions_pkey";

/// Rows on their way to the database, a vector a column.
#[derive(Default)]
struct Columns<'a> {
    session_id: Vec<&'a str>,
    status: Vec<&'static str>,
    correlation_id: Vec<Uuid>,
    task_id: Vec<Option<&'a str>>,
    started_at: Vec<Option<DateTime<Utc>>>,
    ended_at: Vec<Option<DateTime<Utc>>>,
    duration_seconds: Vec<Option<f64>>,
    working_directory: Vec<Option<&'a str>>,
    git_branch: Vec<Option<&'a str>>,
    hook_source: Vec<Option<&'static str>>,
    end_reason: Vec<Option<&'static str>>,
    end_provenance: Vec<Option<&'static str>>,
    run_count: Vec<i64>,
    prompt_count: Vec<i64>,
    tool_count: Vec<i64>,
    tool_failure_count: Vec<i64>,
    tools_used_count: Vec<i64>,
    tool_usage: Vec<Json<&'a ToolUsage>>,
    event_count: Vec<i64>,
    first_event_at: Vec<DateTime<Utc>>,
    last_event_at: Vec<DateTime<Utc>>,
    aggregator: Vec<String>,
    state: Vec<&'a str>,
    event_digest: Vec<[u8; 16]>,
    version: Vec<i64>,
    read_digest: Vec<Option<[u8; 16]>>,
}

/// Enough that it doesn't matter what a statement costs by itself, and so few that their texts take some MB: the driver
/// copies them twice, and each connection keeps the room that they took.
pub(super) const ROWS_OF_A_STATEMENT: usize = 2_000;

/// A count of rows; they are far fewer than 2^63.
fn bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl<'a> Columns<'a> {
    fn push<S>(&mut self, aggregator: AggregatorId, change: &'a SessionChange<'_, S>) -> Result<(), StoreError> {
        let snapshot = change.folded.snapshot();
        let instant = |time: Option<EventTime>| time.map(EventTime::as_utc);
        self.session_id.push(change.session_id.as_str());
        self.status.push(snapshot.status.as_str());
        self.correlation_id.push(snapshot.correlation_id);
        self.task_id.push(snapshot.task_id.as_ref().map(TaskId::as_str));
        self.started_at.push(instant(snapshot.started_at));
        self.ended_at.push(instant(snapshot.ended_at));
        self.duration_seconds.push(snapshot.duration_seconds);
        self.working_directory.push(snapshot.working_directory.as_ref().map(Text::as_str));
        self.git_branch.push(snapshot.git_branch.as_ref().map(Text::as_str));
        self.hook_source.push(snapshot.hook_source.map(|source| source.as_str()));
        self.end_reason.push(snapshot.end_cause.map(|cause| cause.reason()));
        self.end_provenance.push(snapshot.end_cause.map(|cause| cause.provenance().as_str()));
        self.run_count.push(bigint(snapshot.run_count));
        self.prompt_count.push(bigint(snapshot.prompt_count));
        self.tool_count.push(bigint(snapshot.tool_count));
        self.tool_failure_count.push(bigint(snapshot.tool_failure_count));
        self.tools_used_count.push(bigint(snapshot.tools_used_count));
        self.tool_usage.push(Json(&snapshot.tool_usage));
        self.event_count.push(bigint(snapshot.event_count));
        self.first_event_at.push(snapshot.first_event_at.as_utc());
        self.last_event_at.push(snapshot.last_event_at.as_utc());
        self.aggregator.push(aggregator.to_string());
        self.state.push(state_json(aggregator, change)?);
        self.event_digest.push(change.folded.digest().to_bytes());
        self.version.push(written_version(change).get());
        self.read_digest.push(change.read_digest.map(EventSetDigest::to_bytes));
        Ok(())
    }

    /// `sides` is the same for all rows.
    fn bind<'q>(&'q self, statement: &'static str, sides: &'q [String]) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(statement)
            .bind(&self.session_id)
            .bind(&self.status)
            .bind(&self.correlation_id)
            .bind(&self.task_id)
            .bind(&self.started_at)
            .bind(&self.ended_at)
            .bind(&self.duration_seconds)
            .bind(&self.working_directory)
            .bind(&self.git_branch)
            .bind(&self.hook_source)
            .bind(&self.end_reason)
            .bind(&self.end_provenance)
            .bind(&self.run_count)
            .bind(&self.prompt_count)
            .bind(&self.tool_count)
            .bind(&self.tool_failure_count)
            .bind(&self.tools_used_count)
            .bind(&self.tool_usage)
            .bind(&self.event_count)
            .bind(&self.first_event_at)
            .bind(&self.last_event_at)
            .bind(&self.aggregator)
            .bind(&self.state)
            .bind(&self.event_digest)
            .bind(&self.version)
            .bind(sides)
            .bind(&self.read_digest)
    }
}

/// The state as its column keeps it. It travels as text, which Postgres hands on as it is.
pub(super) fn state_json<'a, S>(
    aggregator: AggregatorId,
    change: &'a SessionChange<'_, S>,
) -> Result<&'a str, StoreError> {
    change.folded.state_json().map_err(|error| {
        StoreError::new(Failure::Setup, format!("the state of aggregator {aggregator} is no JSON: {error}"))
    })
}

/// The version of the row that a change writes.
pub(crate) fn written_version<S>(change: &SessionChange<'_, S>) -> Version {
    change.read.map_or(Version::FIRST, |(version, _)| version.next())
}

/// Whether every session still stood as it was read.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    All,
    Conflict,
}

/// Writes the rows of `changes`, which are sorted by session id, unless one was changed, created or deleted since it
/// was read. Until the transaction ends, nobody else can change these sessions or add events to them.
pub(super) async fn write<A: SessionAggregator>(
    connection: &mut PgConnection,
    aggregators: &Aggregators<A>,
    changes: &[SessionChange<'_, A::State>],
) -> Result<Written, StoreError> {
    let (existing, new): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.read.is_some());
    let (id, sides) = (aggregators.session.id(), side_ids(aggregators));
    // Existing rows are changed before new ones are made: two writers that wait for each other would nearly always have
    // to meet in one of the two phases, and within each the order is the same. What is left is a deadlock, tried again.
    if write_arrays(connection, UPDATE, id, &sides, &existing).await? == Written::Conflict {
        return Ok(Written::Conflict);
    }
    let states = new.iter().map(|change| state_json(id, change)).collect::<Result<Vec<_>, _>>()?;
    if pays(states.iter().map(|state| state.len()).sum()) {
        return copy_new(connection, id, &sides, &new, &states).await;
    }
    write_arrays(connection, INSERT, id, &sides, &new).await
}

fn side_ids<A: SessionAggregator>(aggregators: &Aggregators<A>) -> Vec<String> {
    aggregators.sides.ids().map(|id| id.to_string()).collect()
}

/// Runs [`UPDATE`] or [`INSERT`].
async fn write_arrays<S>(
    connection: &mut PgConnection,
    statement: &'static str,
    aggregator: AggregatorId,
    sides: &[String],
    changes: &[&SessionChange<'_, S>],
) -> Result<Written, StoreError> {
    for some in changes.chunks(ROWS_OF_A_STATEMENT) {
        let mut columns = Columns::default();
        for change in some {
            columns.push(aggregator, change)?;
        }
        let written = columns.bind(statement, sides).execute(&mut *connection).await?.rows_affected();
        if written < some.len() as u64 {
            return Ok(Written::Conflict);
        }
    }
    Ok(Written::All)
}

/// Runs [`COPY`], with the state of each. It fails as a whole at a row that is there already, so the transaction has to end.
async fn copy_new<S>(
    connection: &mut PgConnection,
    aggregator: AggregatorId,
    sides: &[String],
    changes: &[&SessionChange<'_, S>],
    states: &[&str],
) -> Result<Written, StoreError> {
    let aggregator = aggregator.to_string();
    let copied = copy_in(connection, COPY, changes.iter().zip(states), |row, (change, state)| {
        write_row(row, change, &aggregator, state, sides);
    });
    match copied.await {
        Ok(copied) if copied == changes.len() as u64 => {}
        Ok(_) => return Ok(Written::Conflict),
        Err(error) if error.is_duplicate_of(KEY) => return Ok(Written::Conflict),
        Err(error) => return Err(error),
    }
    // Asked afterwards: whoever deletes a session waits for us from the first row on, or we have waited for them.
    let ids: Vec<&str> = changes.iter().map(|change| change.session_id.as_str()).collect();
    let deleted = deleted_sessions::among(connection, &ids).await?;
    Ok(if deleted.is_empty() { Written::All } else { Written::Conflict })
}

/// The columns of [`COPY`].
fn write_row<S>(
    row: &mut RowWriter<'_>,
    change: &SessionChange<'_, S>,
    aggregator: &str,
    state: &str,
    sides: &[String],
) {
    let snapshot = change.folded.snapshot();
    row.text(change.session_id.as_str());
    row.text(snapshot.status.as_str());
    row.uuid(snapshot.correlation_id);
    row.nullable(snapshot.task_id.as_ref().map(TaskId::as_str), RowWriter::text);
    row.nullable(snapshot.started_at.map(EventTime::as_utc), RowWriter::timestamptz);
    row.nullable(snapshot.ended_at.map(EventTime::as_utc), RowWriter::timestamptz);
    row.nullable(snapshot.duration_seconds, RowWriter::double_precision);
    row.nullable(snapshot.working_directory.as_ref().map(Text::as_str), RowWriter::text);
    row.nullable(snapshot.git_branch.as_ref().map(Text::as_str), RowWriter::text);
    row.nullable(snapshot.hook_source.map(|source| source.as_str()), RowWriter::text);
    row.nullable(snapshot.end_cause.map(|cause| cause.reason()), RowWriter::text);
    row.nullable(snapshot.end_cause.map(|cause| cause.provenance().as_str()), RowWriter::text);
    row.bigint(bigint(snapshot.run_count));
    row.bigint(bigint(snapshot.prompt_count));
    row.bigint(bigint(snapshot.tool_count));
    row.bigint(bigint(snapshot.tool_failure_count));
    row.bigint(bigint(snapshot.tools_used_count));
    row.jsonb(&snapshot.tool_usage);
    row.bigint(bigint(snapshot.event_count));
    row.timestamptz(snapshot.first_event_at.as_utc());
    row.timestamptz(snapshot.last_event_at.as_utc());
    row.text(aggregator);
    row.text(state);
    row.bytea(&change.folded.digest().to_bytes());
    row.bigint(written_version(change).get());
    row.texts(sides);
}
