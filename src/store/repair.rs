//! Sessions written anew from their stored events.

use std::time::Duration;

use sqlx::PgConnection;

use crate::fold::{Aggregators, SessionAggregator, SessionChange};

use super::{
    Store, aggregates, aggregators,
    commit::CommitError,
    generations,
    sessions::{self, Written},
    transaction::{Isolation, TransactionSpec},
    transitions::{self, Cause, Publication},
};

const SPEC: TransactionSpec = TransactionSpec {
    name: "repair_sessions",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: Some(Duration::from_secs(600)),
};

impl Store {
    /// Writes these sessions' rows and the states of the side aggregators. `changes` are sorted by session, and add no
    /// events.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] if one was changed, created or deleted since it was read: nothing is written then.
    pub async fn repair<A: SessionAggregator>(
        &self,
        aggregators: &Aggregators<A>,
        changes: &[SessionChange<'_, A::State>],
    ) -> Result<(), CommitError> {
        let body = async |connection: &mut PgConnection| {
            generations::check(connection, self.generation).await?;
            let written = sessions::write(connection, aggregators, changes).await?;
            if written == Written::Conflict {
                return Err(CommitError::Conflict);
            }
            aggregators::forget_others(connection, aggregators).await?;
            aggregates::write(connection, changes).await?;
            transitions::insert(connection, Cause::Repair, Publication::Published, changes).await?;
            Ok(())
        };
        self.transactions.run(&SPEC, body).await
    }
}
