//! The outbox: one row for each change of a session's status.

use serde_json::{Value, json};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::fold::{SessionChange, Snapshot, Status, Version};

use super::{error::StoreError, sessions::written_version};

pub(super) const INSERT: &str = "/* insert_transitions */
    INSERT INTO transitions (id, session_id, session_version, from_status, to_status, cause, payload)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::jsonb[])";

/// What changed a status.
const CAUSE_EVENT: &str = "event";

struct Transition<'a> {
    session_id: &'a str,
    version: Version,
    from: Option<Status>,
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
            "cause": CAUSE_EVENT,
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
    changes: &[SessionChange<'_, S>],
    snapshots: &[Snapshot],
) -> Result<(), StoreError> {
    let transitions: Vec<Transition<'_>> =
        changes.iter().zip(snapshots).filter_map(|(change, snapshot)| of(change, snapshot)).collect();
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
        .bind(column(&transitions, |_| CAUSE_EVENT))
        .bind(column(&transitions, |transition| Json(transition.payload())));
    query.execute(connection).await?;
    Ok(())
}

fn of<'a, S>(change: &'a SessionChange<'_, S>, snapshot: &'a Snapshot) -> Option<Transition<'a>> {
    let from = change.read.map(|(_, status)| status);
    let session_id = change.session_id.as_str();
    (from != Some(snapshot.status)).then(|| Transition { session_id, version: written_version(change), from, snapshot })
}
