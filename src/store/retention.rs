//! Rows that are deleted by their age, a batch a transaction.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    Store,
    error::StoreError,
    transaction::{Isolation, TransactionSpec},
};

/// Every statement that deletes by age, or looks what would be.
pub(super) const STATEMENTS: [&str; 10] = [
    LOCK,
    CAUGHT_UP_AT,
    Expiring::Sessions.deletion(),
    Expiring::Sessions.count(),
    Expiring::SettledDeadLetters.deletion(),
    Expiring::SettledDeadLetters.count(),
    Expiring::OpenDeadLetters.deletion(),
    Expiring::OpenDeadLetters.count(),
    Expiring::PublishedTransitions.deletion(),
    Expiring::PublishedTransitions.count(),
];

/// One at a time for all instances that share these tables.
const LOCK: &str = "/* lock_retention */
    SELECT pg_try_advisory_xact_lock(hashtextextended('sessionfold retention of ' || current_schema(), 0))";

/// None where a partition has never been caught up with, or a topic has no checkpoint yet.
const CAUGHT_UP_AT: &str = "/* caught_up_at */
    SELECT min(caught_up_at) FROM checkpoints WHERE group_id = $1 AND topic = ANY($2::text[])
    HAVING count(*) = count(caught_up_at) AND count(DISTINCT topic) = cardinality($2::text[])";

/// Whether a session is old is looked at once more when its row is locked: one that was written meanwhile stays. One
/// that is being written is passed over.
const SESSIONS: &str = "/* delete_old_sessions */
    WITH old AS MATERIALIZED (
        SELECT session_id FROM sessions
        WHERE last_event_hour < $1 AND last_event_at < $1
        ORDER BY last_event_hour LIMIT $2
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM sessions s USING old WHERE s.session_id = old.session_id";

const COUNT_SESSIONS: &str = "/* count_old_sessions */
    SELECT count(*) FROM sessions WHERE last_event_hour < $1 AND last_event_at < $1";

const SETTLED_DEAD_LETTERS: &str = "/* delete_settled_dead_letters */
    WITH old AS MATERIALIZED (
        SELECT id FROM dead_letters
        WHERE created_at < $1 AND status <> 'open'
        ORDER BY created_at LIMIT $2
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM dead_letters d USING old WHERE d.id = old.id";

const COUNT_SETTLED_DEAD_LETTERS: &str = "/* count_settled_dead_letters */
    SELECT count(*) FROM dead_letters WHERE created_at < $1 AND status <> 'open'";

const OPEN_DEAD_LETTERS: &str = "/* delete_open_dead_letters */
    WITH old AS MATERIALIZED (
        SELECT id FROM dead_letters
        WHERE created_at < $1 AND status = 'open'
        ORDER BY created_at LIMIT $2
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM dead_letters d USING old WHERE d.id = old.id";

const COUNT_OPEN_DEAD_LETTERS: &str = "/* count_open_dead_letters */
    SELECT count(*) FROM dead_letters WHERE created_at < $1 AND status = 'open'";

const TRANSITIONS: &str = "/* delete_old_transitions */
    WITH old AS MATERIALIZED (
        SELECT session_id, session_version, id FROM transitions
        WHERE published_at < $1
        ORDER BY published_at LIMIT $2
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM transitions t USING old
    WHERE t.session_id = old.session_id AND t.session_version = old.session_version AND t.id = old.id";

const COUNT_TRANSITIONS: &str = "/* count_old_transitions */
    SELECT count(*) FROM transitions WHERE published_at < $1";

/// What may be deleted by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiring {
    /// With all that belongs to them, by the time of their last event.
    Sessions,
    /// Those that were redriven or discarded, by the time when they were set aside.
    SettledDeadLetters,
    /// Those that nobody has dealt with, by the same.
    OpenDeadLetters,
    /// By the time when they were published.
    PublishedTransitions,
}

impl Expiring {
    pub const ALL: [Expiring; 4] =
        [Expiring::Sessions, Expiring::SettledDeadLetters, Expiring::OpenDeadLetters, Expiring::PublishedTransitions];

    const fn deletion(self) -> &'static str {
        match self {
            Expiring::Sessions => SESSIONS,
            Expiring::SettledDeadLetters => SETTLED_DEAD_LETTERS,
            Expiring::OpenDeadLetters => OPEN_DEAD_LETTERS,
            Expiring::PublishedTransitions => TRANSITIONS,
        }
    }

    const fn count(self) -> &'static str {
        match self {
            Expiring::Sessions => COUNT_SESSIONS,
            Expiring::SettledDeadLetters => COUNT_SETTLED_DEAD_LETTERS,
            Expiring::OpenDeadLetters => COUNT_OPEN_DEAD_LETTERS,
            Expiring::PublishedTransitions => COUNT_TRANSITIONS,
        }
    }
}

/// What a batch came to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Another instance is at it just now.
    Busy,
    Deleted {
        rows: u64,
        /// Whether there may be more of them.
        more: bool,
    },
}

/// A session may have many events.
const SPEC: TransactionSpec = TransactionSpec {
    name: "retention",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: Some(Duration::from_secs(600)),
};

const READ: TransactionSpec = TransactionSpec { name: "read_for_retention", read_only: true, ..SPEC };

impl Store {
    /// The latest instant at which all records of these topics were known to be in the tables, however long ago that is. A session that seems old
    /// at that instant is so, and not only because its events wait in a log. None where no such instant is known.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn caught_up_at(&self, group_id: &str, topics: &[String]) -> Result<Option<DateTime<Utc>>, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query_scalar::<_, Option<DateTime<Utc>>>(CAUGHT_UP_AT).bind(group_id).bind(topics);
            Ok::<_, StoreError>(query.fetch_optional(connection).await?.flatten())
        };
        self.transactions.run(&READ, body).await
    }

    /// How many rows are older than that.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn count_expired(&self, what: Expiring, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query_scalar::<_, i64>(what.count()).bind(before);
            Ok::<_, StoreError>(query.fetch_one(connection).await?.unsigned_abs())
        };
        self.transactions.run(&READ, body).await
    }

    /// Deletes rows that are older than that, the oldest first, at most `batch` of them. Rows that somebody else has
    /// locked are left to the next time.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn delete_expired(
        &self,
        what: Expiring,
        before: DateTime<Utc>,
        batch: u32,
    ) -> Result<Expiry, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let is_locked: bool = sqlx::query_scalar(LOCK).fetch_one(&mut *connection).await?;
            if !is_locked {
                return Ok::<_, StoreError>(Expiry::Busy);
            }
            let query = sqlx::query(what.deletion()).bind(before).bind(i64::from(batch));
            let rows = query.execute(connection).await?.rows_affected();
            Ok(Expiry::Deleted { rows, more: rows >= u64::from(batch) })
        };
        self.transactions.run(&SPEC, body).await
    }
}
