//! The outbox: one row for each change of a session's status.

use serde::Serialize;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::EventTime,
    fold::{EndCause, SessionChange, Snapshot, Status, Version},
};

use super::{
    copy::{RowWriter, copy_in, pays},
    error::StoreError,
    sessions::{ROWS_OF_A_STATEMENT, written_version},
};

macro_rules! columns {
    () => {
        "id, session_id, session_version, from_status, to_status, cause, payload, withheld"
    };
}

pub(super) const INSERT: &str = concat!(
    "/* insert_transitions */
    INSERT INTO transitions (",
    columns!(),
    ") SELECT unnest($1::uuid[]), unnest($2::text[]), unnest($3::bigint[]), unnest($4::text[]), unnest($5::text[]),
        unnest($6::text[]), unnest($7::jsonb[]), $8"
);

const COPY: &str = concat!("/* copy_transitions */ COPY transitions (", columns!(), ") FROM STDIN (FORMAT binary)");

/// No row has fewer bytes in a COPY.
const LEAST_ROW: usize = 300;

/// Whether others hear of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    Published,
    /// They are kept, and marked as not to be published: a replay makes them, and others heard of them long ago.
    Withheld,
}

/// What changed a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Event,
    Timeout,
    /// `sessionfold verify --repair` wrote the session anew, or a sweep met one that a changed setting makes another.
    Repair,
}

impl Cause {
    fn as_str(self) -> &'static str {
        match self {
            Cause::Event => "event",
            Cause::Timeout => "timeout",
            Cause::Repair => "repair",
        }
    }
}

#[derive(Clone, Copy)]
struct Transition<'a> {
    session_id: &'a str,
    version: Version,
    from: Option<Status>,
    cause: Cause,
    snapshot: &'a Snapshot,
}

impl Transition<'_> {
    /// What a consumer of the outbox gets to see.
    fn payload(&self) -> Payload<'_> {
        let Self { session_id, version, from, cause, snapshot } = *self;
        Payload {
            session_id,
            session_version: version.get(),
            from_status: from,
            to_status: snapshot.status,
            cause: cause.as_str(),
            started_at: snapshot.started_at,
            ended_at: snapshot.ended_at,
            end_reason: snapshot.end_cause,
            duration_seconds: snapshot.duration_seconds,
            event_count: snapshot.event_count,
            last_event_at: snapshot.last_event_at,
            correlation_id: snapshot.correlation_id,
        }
    }
}

#[derive(Serialize)]
struct Payload<'a> {
    session_id: &'a str,
    session_version: i64,
    from_status: Option<Status>,
    to_status: Status,
    cause: &'static str,
    started_at: Option<EventTime>,
    ended_at: Option<EventTime>,
    end_reason: Option<EndCause>,
    duration_seconds: Option<f64>,
    event_count: u64,
    last_event_at: EventTime,
    correlation_id: Uuid,
}

/// Writes a transition for each change whose status is another than the one that was read.
pub(super) async fn insert<S>(
    connection: &mut PgConnection,
    cause: Cause,
    publication: Publication,
    changes: &[SessionChange<'_, S>],
) -> Result<(), StoreError> {
    let transitions: Vec<Transition<'_>> = changes.iter().filter_map(|change| of(cause, change)).collect();
    if pays(transitions.len() * LEAST_ROW) {
        return copy(connection, publication, &transitions).await;
    }
    for some in transitions.chunks(ROWS_OF_A_STATEMENT) {
        insert_some(connection, publication, some).await?;
    }
    Ok(())
}

async fn insert_some(
    connection: &mut PgConnection,
    publication: Publication,
    transitions: &[Transition<'_>],
) -> Result<(), StoreError> {
    fn column<'a, T>(transitions: &'a [Transition<'a>], value: impl Fn(&'a Transition<'a>) -> T) -> Vec<T> {
        transitions.iter().map(value).collect()
    }
    let query = sqlx::query(INSERT)
        .bind(column(transitions, |_| Uuid::now_v7()))
        .bind(column(transitions, |transition| transition.session_id))
        .bind(column(transitions, |transition| transition.version.get()))
        .bind(column(transitions, |transition| transition.from.map(Status::as_str)))
        .bind(column(transitions, |transition| transition.snapshot.status.as_str()))
        .bind(column(transitions, |transition| transition.cause.as_str()))
        .bind(column(transitions, |transition| Json(transition.payload())))
        .bind(publication == Publication::Withheld);
    query.execute(connection).await?;
    Ok(())
}

async fn copy(
    connection: &mut PgConnection,
    publication: Publication,
    transitions: &[Transition<'_>],
) -> Result<(), StoreError> {
    copy_in(connection, COPY, transitions.iter(), |row, transition| {
        row.uuid(Uuid::now_v7());
        row.text(transition.session_id);
        row.bigint(transition.version.get());
        row.nullable(transition.from.map(Status::as_str), RowWriter::text);
        row.text(transition.snapshot.status.as_str());
        row.text(transition.cause.as_str());
        row.jsonb(&transition.payload());
        row.boolean(publication == Publication::Withheld);
    })
    .await?;
    Ok(())
}

fn of<'a, S>(cause: Cause, change: &'a SessionChange<'_, S>) -> Option<Transition<'a>> {
    let snapshot = change.folded.snapshot();
    let from = change.read.map(|(_, status)| status);
    let session_id = change.session_id.as_str();
    let version = written_version(change);
    (from != Some(snapshot.status)).then_some(Transition { session_id, version, from, cause, snapshot })
}
