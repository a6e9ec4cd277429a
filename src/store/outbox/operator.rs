//! What an operator looks at, and sets free.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, postgres::PgRow, types::Uuid};

use super::{
    super::{
        Store,
        error::StoreError,
        transaction::{Isolation, TransactionSpec},
    },
    TransitionKey,
};

pub(in crate::store) const LIST_SET_ASIDE: &str = "/* list_set_aside_transitions */
    SELECT session_id, session_version, id, from_status, to_status, cause, occurred_at, attempts, last_error,
        next_attempt_at, set_aside_at
    FROM transitions
    WHERE set_aside_at IS NOT NULL AND NOT withheld AND ($1::text IS NULL OR session_id = $1)
        AND (cardinality($2::uuid[]) = 0 OR id = ANY($2))
    ORDER BY set_aside_at, session_id, session_version
    LIMIT $3";

pub(in crate::store) const LIST_WAITING: &str = "/* list_waiting_transitions */
    SELECT session_id, session_version, id, from_status, to_status, cause, occurred_at, attempts, last_error,
        next_attempt_at, set_aside_at
    FROM transitions
    WHERE published_at IS NULL AND NOT withheld AND set_aside_at IS NULL AND ($1::text IS NULL OR session_id = $1)
        AND (cardinality($2::uuid[]) = 0 OR id = ANY($2))
    ORDER BY session_id, carried_over DESC, session_version
    LIMIT $3";

pub(in crate::store) const RETRY: &str = "/* retry_transitions */
    UPDATE transitions SET set_aside_at = NULL, next_attempt_at = NULL, attempts = 0
    WHERE set_aside_at IS NOT NULL AND NOT withheld AND ($1::text IS NULL OR session_id = $1)
        AND (cardinality($2::uuid[]) = 0 OR id = ANY($2))";

pub(in crate::store) const COUNT_SET_ASIDE: &str = "/* count_set_aside_transitions */
    SELECT count(*) FROM transitions
    WHERE set_aside_at IS NOT NULL AND NOT withheld AND ($1::text IS NULL OR session_id = $1)
        AND (cardinality($2::uuid[]) = 0 OR id = ANY($2))";

const READ: TransactionSpec = TransactionSpec {
    name: "list_transitions",
    isolation: Isolation::ReadCommitted,
    read_only: true,
    statement_timeout: None,
};

const WRITE: TransactionSpec = TransactionSpec { name: "retry_transitions", read_only: false, ..READ };

/// Which rows are meant. Without either, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxSelection {
    pub session_id: Option<String>,
    pub ids: Vec<Uuid>,
}

/// A row that isn't published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    pub key: TransitionKey,
    pub from_status: Option<String>,
    pub to_status: String,
    pub cause: String,
    pub occurred_at: DateTime<Utc>,
    pub attempts: i32,
    pub last_error: Option<String>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// None while it waits.
    pub set_aside_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Rows that were set aside, the oldest first, up to `limit`.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn set_aside_transitions(
        &self,
        selection: &OutboxSelection,
        limit: u32,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        self.list_transitions(LIST_SET_ASIDE, selection, limit).await
    }

    /// Rows that wait, session by session, up to `limit`.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn waiting_transitions(
        &self,
        selection: &OutboxSelection,
        limit: u32,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        self.list_transitions(LIST_WAITING, selection, limit).await
    }

    async fn list_transitions(
        &self,
        statement: &'static str,
        selection: &OutboxSelection,
        limit: u32,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query(statement).bind(&selection.session_id).bind(&selection.ids).bind(i64::from(limit));
            let rows = query.fetch_all(connection).await?;
            rows.iter().map(|row| entry(row).map_err(StoreError::from)).collect()
        };
        self.transactions.run(&READ, body).await
    }

    /// How many rows were set aside.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn count_set_aside_transitions(&self, selection: &OutboxSelection) -> Result<u64, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query_scalar::<_, i64>(COUNT_SET_ASIDE).bind(&selection.session_id).bind(&selection.ids);
            Ok::<_, StoreError>(query.fetch_one(connection).await?)
        };
        Ok(self.transactions.run(&READ, body).await?.unsigned_abs())
    }

    /// Has rows that were set aside sent again, with all their attempts before them. Returns how many.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn retry_transitions(&self, selection: &OutboxSelection) -> Result<u64, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query(RETRY).bind(&selection.session_id).bind(&selection.ids);
            Ok::<_, StoreError>(query.execute(connection).await?.rows_affected())
        };
        self.transactions.run(&WRITE, body).await
    }
}

fn entry(row: &PgRow) -> Result<OutboxEntry, sqlx::Error> {
    use sqlx::Row;
    Ok(OutboxEntry {
        key: TransitionKey {
            session_id: row.try_get("session_id")?,
            session_version: row.try_get("session_version")?,
            id: row.try_get("id")?,
        },
        from_status: row.try_get("from_status")?,
        to_status: row.try_get("to_status")?,
        cause: row.try_get("cause")?,
        occurred_at: row.try_get("occurred_at")?,
        attempts: row.try_get("attempts")?,
        last_error: row.try_get("last_error")?,
        next_attempt_at: row.try_get("next_attempt_at")?,
        set_aside_at: row.try_get("set_aside_at")?,
    })
}
