//! One batch, one transaction: checkpoints, sessions, events, transitions and dead letters appear together or not at
//! all.

use sqlx::PgConnection;

use crate::{
    event::Event,
    fold::{Aggregator, SessionChange, Snapshot},
};

use super::{
    Store,
    checkpoints::{self, CheckpointMove, Committed, Fenced},
    dead_letters::{self, DeadLetter},
    error::{Failure, StoreError},
    events,
    sessions::{self, Written},
    transaction::{AsStoreError, Isolation, TransactionSpec},
    transitions,
};

/// Everything that a batch writes.
#[derive(Debug)]
pub struct BatchCommit<'a, A: Aggregator> {
    pub group_id: &'a str,
    /// One for each partition in the batch.
    pub moves: &'a [CheckpointMove],
    pub aggregator: &'a A,
    pub changes: &'a [SessionChange<'a, A::State>],
    pub dead_letters: &'a [DeadLetter<'a>],
}

/// Why a batch was not committed. Nothing of it is in the tables, except perhaps for [`Failure::InDoubt`].
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A session was changed, created or deleted since it was read: read and fold again.
    #[error("a session changed since it was read")]
    Conflict,
    /// Another writer owns some of the partitions, or this batch was committed before.
    #[error("the checkpoint moved")]
    Fenced(Fenced),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AsStoreError for CommitError {
    fn failure(&self) -> Option<Failure> {
        match self {
            CommitError::Store(error) => Some(error.failure),
            CommitError::Conflict | CommitError::Fenced(_) => None,
        }
    }
}

/// Read committed: the locks on checkpoints and sessions, and the versions, do what a stricter level would.
const COMMIT: TransactionSpec = TransactionSpec {
    name: "commit_batch",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: None,
};

impl Store {
    /// Moves one checkpoint by an operator's decision. Whoever reads the partition is fenced.
    ///
    /// # Errors
    /// If the checkpoint is not where it was expected, or Postgres refuses.
    pub async fn move_checkpoint(&self, group_id: &str, step: CheckpointMove) -> Result<(), CommitError> {
        const SPEC: TransactionSpec = TransactionSpec { name: "move_checkpoint", ..COMMIT };
        let body = async |connection: &mut PgConnection| {
            checkpoints::advance(connection, group_id, std::slice::from_ref(&step)).await?.map_err(CommitError::Fenced)
        };
        self.transactions.run(&SPEC, body).await
    }

    /// Commits a batch.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit<A: Aggregator>(&self, batch: &BatchCommit<'_, A>) -> Result<Committed, CommitError> {
        let snapshots: Vec<Snapshot> =
            batch.changes.iter().map(|change| batch.aggregator.snapshot(&change.state, None)).collect();
        let added: Vec<&Event> = batch.changes.iter().flat_map(|change| change.added.iter().copied()).collect();
        let replaced: Vec<&Event> = batch.changes.iter().flat_map(|change| change.replaced.iter().copied()).collect();
        let body = async |connection: &mut PgConnection| {
            checkpoints::advance(connection, batch.group_id, batch.moves).await?.map_err(CommitError::Fenced)?;
            let written = sessions::write(connection, batch.aggregator, batch.changes, &snapshots).await?;
            if written == Written::Conflict {
                return Err(CommitError::Conflict);
            }
            events::insert(connection, &added).await?;
            events::replace(connection, &replaced).await?;
            transitions::insert(connection, batch.changes, &snapshots).await?;
            dead_letters::insert(connection, batch.dead_letters).await?;
            Ok(())
        };
        self.transactions.run(&COMMIT, body).await?;
        Ok(Committed::of(batch.moves))
    }
}
