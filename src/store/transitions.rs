//! The outbox: one row for each change of a session's status.

use serde_json::{Value, json};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::fold::{SessionChange, Snapshot, Status, Version};

use super::{error::StoreError, sessions::written_version};

pub(super) const INSERT: &str = "/* insert_transitions */
    INSERT INTO transitions (id, session_id, session_version, from_status, to_status, cause, payload, withheld)
    SELECT *, $8 FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::jsonb[])";

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

struct Transition<'a> {
    session_id: &'a str,
    version: Version,
    from: Option<Status>,
    cause: Cause,
    snapshot: &'a Snapshot,
}

impl Transition<'_> {
    /// What a consumer of the outbox gets to see.
    fn payload(&self) -> Value {
        json!({
            "session_id": self.session_id,
            "session_version": self.version.get(),
            "from_status": self.from,
            "to_status": self.snapshot.status,
            "cause": self.cause.as_str(),
            "started_at": self.snapshot.started_at,
            "ended_at": self.snapshot.ended_at,
            "end_reason": self.snapshot.end_cause,
            "duration_seconds": self.snapshot.duration_seconds,
            "event_count": self.snapshot.event_count,
            "last_event_at": self.snapshot.last_event_at,
            "correlation_id": self.snapshot.correlation_id,
        })
    }
}

/// Writes a transition for each change whose status is another than the one that was read.
pub(super) async fn insert<S>(
    connection: &mut PgConnection,
    cause: Cause,
    publication: Publication,
    changes: &[SessionChange<'_, S>],
) -> Result<(), StoreError> {
    let transitions: Vec<Transition<'_>> = changes.iter().filter_map(|change| of(cause, change)).collect();
    if transitions.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(transitions: &'a [Transition<'a>], value: impl Fn(&'a Transition<'a>) -> T) -> Vec<T> {
        transitions.iter().map(value).collect()
    }
    let query = sqlx::query(INSERT)
        .bind(column(&transitions, |_| Uuid::now_v7()))
        .bind(column(&transitions, |transition| transition.session_id))
        .bind(column(&transitions, |transition| transition.version.get()))
        .bind(column(&transitions, |transition| transition.from.map(Status::as_str)))
        .bind(column(&transitions, |transition| transition.snapshot.status.as_str()))
        .bind(column(&transitions, |transition| transition.cause.as_str()))
        .bind(column(&transitions, |transition| Json(transition.payload())))
        .bind(publication == Publication::Withheld);
    query.execute(connection).await?;
    Ok(())
}

fn of<'a, S>(cause: Cause, change: &'a SessionChange<'_, S>) -> Option<Transition<'a>> {
    let snapshot = change.folded.snapshot();
    let from = change.read.map(|(_, status)| status);
    let session_id = change.session_id.as_str();
    let version = written_version(change);
    (from != Some(snapshot.status)).then_some(Transition { session_id, version, from, cause, snapshot })
}
