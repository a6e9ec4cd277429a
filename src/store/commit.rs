//! One batch, one transaction: checkpoints, sessions, events, transitions and dead letters appear together or not at
//! all.

use sqlx::PgConnection;

use crate::{
    event::Event,
    fold::{Aggregators, SessionAggregator, SessionChange},
};

use super::{
    Store, aggregates,
    checkpoints::{self, CheckpointMove, Fenced},
    dead_letters::{self, DeadLetter, Settlement},
    error::StoreError,
    events::{self, NewRow, NewRows},
    generations,
    sessions::{self, Written, written_version},
    transaction::{AsStoreError, Isolation, TransactionSpec},
    transitions::{self, Cause, Publication},
};

/// Everything that a batch writes.
#[derive(Debug)]
pub struct BatchCommit<'a, A: SessionAggregator> {
    pub taken_from: TakenFrom<'a>,
    pub aggregators: &'a Aggregators<A>,
    pub changes: &'a [SessionChange<'a, A::State>],
    pub publication: Publication,
}

/// Where the batch's records were, and what is noted there in the same transaction: that they need not be taken again.
#[derive(Clone, Copy, Debug)]
pub enum TakenFrom<'a> {
    /// A log: its checkpoints move.
    Log {
        group_id: &'a str,
        /// One for each partition in the batch.
        moves: &'a [CheckpointMove],
        /// Those of the records that are no good events.
        dead_letters: &'a [DeadLetter<'a>],
    },
    /// The dead letters: each is settled, and none becomes another one.
    DeadLetters(&'a [Settlement<'a>]),
}

impl<'a> TakenFrom<'a> {
    /// None where no checkpoint is concerned.
    pub fn moves(self) -> &'a [CheckpointMove] {
        match self {
            TakenFrom::Log { moves, .. } => moves,
            TakenFrom::DeadLetters(_) => &[],
        }
    }

    /// Takes the locks that fence others, and notes where the records went.
    async fn note(self, connection: &mut PgConnection) -> Result<(), CommitError> {
        let fenced = match self {
            TakenFrom::Log { group_id, moves, .. } => checkpoints::advance(connection, group_id, moves).await?,
            TakenFrom::DeadLetters(settlements) => dead_letters::settle(connection, settlements).await?,
        };
        fenced.map_err(CommitError::Fenced)
    }

    fn new_dead_letters(self) -> &'a [DeadLetter<'a>] {
        match self {
            TakenFrom::Log { dead_letters, .. } => dead_letters,
            TakenFrom::DeadLetters(_) => &[],
        }
    }
}

/// Why a batch was not committed. Nothing of it is in the tables, except perhaps for [`super::Failure::InDoubt`].
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A session was changed, created or deleted since it was read: read and fold again.
    #[error("a session changed since it was read")]
    Conflict,
    /// Another writer owns some of the partitions or settled some of the letters, or this batch was committed before.
    #[error("the checkpoint moved, or the dead letter was settled")]
    Fenced(Fenced),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AsStoreError for CommitError {
    fn as_store_error(&self) -> Option<&StoreError> {
        match self {
            CommitError::Store(error) => Some(error),
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

/// What a batch writes is looked up row by row in an index, whatever the arguments, so one plan does for all batches.
/// To plan for the arguments means to copy a batch's arrays, and what they are cast to, several times over.
const KEEP_PLANS: &str = "/* keep_plans */ SET LOCAL plan_cache_mode = force_generic_plan";

impl Store {
    /// Commits a batch.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit<A: SessionAggregator>(&self, batch: &BatchCommit<'_, A>) -> Result<(), CommitError> {
        let (session, changes) = (&batch.aggregators.session, batch.changes);
        let added: NewRows<'_> = changes.iter().flat_map(|change| rows(change, session.depends_on_order())).collect();
        let replaced: Vec<&Event> = changes.iter().flat_map(|change| change.replaced.iter().copied()).collect();
        let body = async |connection: &mut PgConnection| {
            sqlx::raw_sql(KEEP_PLANS).execute(&mut *connection).await.map_err(StoreError::from)?;
            generations::check(connection, self.generation).await?;
            batch.taken_from.note(connection).await?;
            let written = sessions::write(connection, batch.aggregators, changes).await?;
            if written == Written::Conflict {
                return Err(CommitError::Conflict);
            }
            events::insert(connection, &added).await?;
            events::replace(connection, &replaced).await?;
            aggregates::write(connection, changes).await?;
            transitions::insert(connection, Cause::Event, batch.publication, changes).await?;
            dead_letters::insert(connection, batch.taken_from.new_dead_letters()).await?;
            Ok(())
        };
        self.transactions.run(&COMMIT, body).await
    }
}

/// The events that a change adds. A later batch has a greater version, so their numbers grow with their arrival.
fn rows<'a, S>(change: &'a SessionChange<'_, S>, in_order: bool) -> impl Iterator<Item = NewRow<'a>> {
    /// More events than a batch can have.
    const ROOM: i64 = 1 << 20;
    let first = written_version(change).get() * ROOM;
    let arrival = move |index: i64| in_order.then_some(first + index);
    (0..).zip(&change.added).map(move |(index, event)| NewRow { event, arrival: arrival(index) })
}
