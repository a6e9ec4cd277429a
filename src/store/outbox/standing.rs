//! How much waits to be published.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::super::{
    Store,
    error::StoreError,
    transaction::{Isolation, TransactionSpec},
};

pub(in crate::store) const WAITING: &str = "/* waiting_transitions */
    SELECT count(*), min(occurred_at) FROM transitions
    WHERE published_at IS NULL AND NOT withheld AND set_aside_at IS NULL";

pub(in crate::store) const SET_ASIDE: &str = "/* set_aside_transitions */
    SELECT count(*) FROM transitions WHERE set_aside_at IS NOT NULL AND NOT withheld";

const SPEC: TransactionSpec = TransactionSpec {
    name: "outbox_standing",
    isolation: Isolation::ReadCommitted,
    read_only: true,
    statement_timeout: None,
};

/// What the table holds that isn't published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStanding {
    pub waiting: u64,
    /// When the oldest of these was written.
    pub oldest_at: Option<DateTime<Utc>>,
    pub set_aside: u64,
}

impl Store {
    /// Counts, which takes the longer the more waits.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn outbox_standing(&self) -> Result<OutboxStanding, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let (waiting, oldest_at): (i64, _) = sqlx::query_as(WAITING).fetch_one(&mut *connection).await?;
            let set_aside: i64 = sqlx::query_scalar(SET_ASIDE).fetch_one(connection).await?;
            let (waiting, set_aside) = (waiting.unsigned_abs(), set_aside.unsigned_abs());
            Ok::<_, StoreError>(OutboxStanding { waiting, oldest_at, set_aside })
        };
        self.transactions.run(&SPEC, body).await
    }
}
