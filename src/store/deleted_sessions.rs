//! The table `deleted_sessions`: a tombstone for each session that an operator deleted, whose events are ignored.
//!
//! A writer learns of a tombstone with what it reads before it folds. One that read before has still to be stopped: it
//! changes a row that is gone, or adds one that has a tombstone, which [`super::sessions::INSERT`] leaves out and a COPY is
//! followed by a look for. Either is a conflict, after which it reads again.

use std::collections::HashSet;

use serde::Serialize;
use sqlx::{Executor, PgConnection};

use crate::event::{EventTime, RedactedText, SessionId};

use super::{
    Store,
    error::StoreError,
    transaction::{Isolation, TransactionSpec},
};

/// Waits for all who write sessions, and lets nobody begin to until the end of the transaction: a row that somebody is
/// inserting would not be seen to be deleted. Readers go on. The mode that also keeps out `SELECT … FOR UPDATE` is
/// needed, since the sweep locks rows before it writes: it would wait for us, and we for it.
const LOCK: &str = "/* lock_sessions */ LOCK TABLE sessions IN EXCLUSIVE MODE";

/// Whoever waits for the lock holds up all writers that come after.
const LIMIT_WAIT: &str = "/* limit_lock_wait */ SET LOCAL lock_timeout = '5s'";

const INSERT: &str = "/* insert_deleted_session */
    INSERT INTO deleted_sessions (session_id, reason) VALUES ($1, $2) ON CONFLICT (session_id) DO NOTHING";

/// A trigger deletes what belongs to it.
const DELETE: &str = "/* delete_session */ DELETE FROM sessions WHERE session_id = $1 RETURNING event_count";

/// What has no row in `sessions` that it could have gone with.
const DELETE_REST: &str = "/* delete_rest_of_session */
    WITH p AS (DELETE FROM prompts WHERE session_id = $1),
        t AS (DELETE FROM tool_executions WHERE session_id = $1),
        l AS (DELETE FROM lifecycle_events WHERE session_id = $1),
        a AS (DELETE FROM aggregates WHERE session_id = $1)
    DELETE FROM transitions WHERE session_id = $1";

const RESTORE: &str = "/* restore_session */ DELETE FROM deleted_sessions WHERE session_id = $1";

pub(super) const AMONG: &str = "/* deleted_among */
    SELECT d.session_id
    FROM unnest($1::text[]) AS k(session_id)
    JOIN deleted_sessions d ON d.session_id = k.session_id";

const READ: &str = "/* read_deleted_sessions */
    SELECT d.session_id, d.deleted_at, d.reason
    FROM unnest($1::text[]) AS k(session_id)
    JOIN deleted_sessions d ON d.session_id = k.session_id";

pub(super) const STATEMENTS: [&str; 6] = [INSERT, DELETE, DELETE_REST, RESTORE, AMONG, READ];

/// A session may be long.
const DELETING: TransactionSpec = TransactionSpec {
    name: "delete_session",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: Some(std::time::Duration::from_secs(600)),
};

const RESTORING: TransactionSpec = TransactionSpec { name: "restore_session", statement_timeout: None, ..DELETING };

const READING: TransactionSpec = TransactionSpec { name: "read_deleted_sessions", read_only: true, ..RESTORING };

/// What a deletion found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// How many events its row told of; none where there was no row.
    pub event_count: Option<i64>,
    /// Whether it was deleted before, and not restored.
    pub was_deleted: bool,
}

/// A session's tombstone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tombstone {
    pub session_id: SessionId,
    pub deleted_at: EventTime,
    pub reason: Option<String>,
}

impl Store {
    /// Deletes a session with all that belongs to it, and has its events ignored from now on. A session that isn't
    /// stored may be deleted too. Writers wait meanwhile; who reads does not.
    ///
    /// # Errors
    /// If Postgres refuses; also if a writer holds the table for more than 5 seconds (SQLSTATE 55P03).
    pub async fn delete_session(
        &self,
        session_id: &SessionId,
        reason: Option<&RedactedText>,
    ) -> Result<Deletion, StoreError> {
        let id = session_id.as_str();
        let body = async |connection: &mut PgConnection| {
            connection.execute(LIMIT_WAIT).await?;
            connection.execute(LOCK).await?;
            let tombstone = sqlx::query(INSERT).bind(id).bind(reason.map(RedactedText::as_str));
            let was_deleted = tombstone.execute(&mut *connection).await?.rows_affected() == 0;
            let event_count = sqlx::query_scalar(DELETE).bind(id).fetch_optional(&mut *connection).await?;
            sqlx::query(DELETE_REST).bind(id).execute(connection).await?;
            Ok::<_, StoreError>(Deletion { event_count, was_deleted })
        };
        self.transactions.run(&DELETING, body).await
    }

    /// Lets the events of a session count again: those that arrive, and those that are read again. A batch under way may
    /// still ignore what it has read. Returns whether it was deleted.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn restore_session(&self, session_id: &SessionId) -> Result<bool, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let restored = sqlx::query(RESTORE).bind(session_id.as_str()).execute(connection).await?;
            Ok::<_, StoreError>(restored.rows_affected() > 0)
        };
        self.transactions.run(&RESTORING, body).await
    }

    /// The tombstones of those of these sessions that were deleted.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn tombstones(&self, sessions: &[SessionId]) -> Result<Vec<Tombstone>, StoreError> {
        type Row = (String, chrono::DateTime<chrono::Utc>, Option<String>);
        let ids: Vec<&str> = sessions.iter().map(SessionId::as_str).collect();
        let body = async |connection: &mut PgConnection| {
            Ok::<_, StoreError>(sqlx::query_as::<_, Row>(READ).bind(&ids).fetch_all(connection).await?)
        };
        let tombstone = |(session_id, deleted_at, reason): Row| {
            let deleted_at = EventTime::from_utc(deleted_at);
            let deleted_at = deleted_at.map_err(|_| StoreError::corrupt("deleted_sessions", "deleted_at"))?;
            Ok(Tombstone { session_id: parse(&session_id)?, deleted_at, reason })
        };
        self.transactions.run(&READING, body).await?.into_iter().map(tombstone).collect()
    }
}

/// Which of these sessions were deleted.
pub(super) async fn among(connection: &mut PgConnection, ids: &[&str]) -> Result<HashSet<SessionId>, StoreError> {
    let found: Vec<String> = sqlx::query_scalar(AMONG).bind(ids).fetch_all(connection).await?;
    found.iter().map(|session_id| parse(session_id)).collect()
}

fn parse(session_id: &str) -> Result<SessionId, StoreError> {
    SessionId::parse(session_id).map_err(|_| StoreError::corrupt("deleted_sessions", "session_id"))
}
