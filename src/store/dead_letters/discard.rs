//! Dead letters that an operator puts away, or takes back.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::store::{
    Store,
    error::StoreError,
    transaction::{Isolation, TransactionSpec},
};

use super::{LetterFilter, LetterId, LetterStatus, list::of_filter};

/// In the order of the ids, so that nobody who changes others at once is deadlocked with. One that was changed by
/// somebody else is looked at again once it is locked.
pub(in crate::store) const CHANGE: &str = concat!(
    "/* change_status_of_dead_letters */
    WITH chosen AS MATERIALIZED (
        SELECT d.id FROM dead_letters d WHERE ",
    of_filter!(),
    " AND d.id > $8 AND d.id <= $9 ORDER BY d.id LIMIT $10 FOR UPDATE
    )
    UPDATE dead_letters d SET status = $11 FROM chosen WHERE d.id = chosen.id
    RETURNING d.id"
);

/// How many are changed in one transaction.
const BATCH: i64 = 5_000;

const SPEC: TransactionSpec = TransactionSpec {
    name: "discard_dead_letters",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: None,
};

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarding {
    /// Open ones are discarded.
    Discard,
    /// Discarded ones are open again.
    Undo,
}

impl Discarding {
    pub fn from(self) -> LetterStatus {
        match self {
            Discarding::Discard => LetterStatus::Open,
            Discarding::Undo => LetterStatus::Discarded,
        }
    }

    fn to(self) -> LetterStatus {
        match self {
            Discarding::Discard => LetterStatus::Discarded,
            Discarding::Undo => LetterStatus::Open,
        }
    }
}

impl Store {
    /// Changes the status of all letters that the filter chooses, up to `last`, a batch a transaction. `progress` sees
    /// how many it are so far; so many stay changed where it ends with an error.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn discard_dead_letters(
        &self,
        filter: &LetterFilter,
        last: LetterId,
        discarding: Discarding,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, StoreError> {
        let filter = filter.of(discarding.from());
        let (mut sum, mut after) = (0, LetterId::FIRST);
        loop {
            let body = async |connection: &mut PgConnection| {
                let query = filter.bind::<(Uuid,)>(CHANGE).bind(after.0).bind(last.0).bind(BATCH);
                Ok::<_, StoreError>(query.bind(discarding.to().as_str()).fetch_all(connection).await?)
            };
            let changed = self.transactions.run(&SPEC, body).await?;
            let Some((end,)) = changed.iter().max() else { return Ok(sum) };
            after = LetterId(*end);
            sum += changed.len() as u64;
            progress(sum);
        }
    }
}
