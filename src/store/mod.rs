//! All SQL there is.
//!
//! A batch is read for ([`Store::standing`]), folded elsewhere, and committed ([`Store::commit`]) in one transaction
//! with its checkpoints, dead letters and transitions. The number of statements does not depend on the number of
//! events: rows travel as arrays, or by COPY. Optimistic concurrency: every change of a session's events raises the version of its
//! row, so a commit whose versions still stand was folded from what is stored.

mod adopted_offsets;
mod aggregates;
mod aggregators;
mod breaker;
mod checkpoints;
mod claims;
mod commit;
mod copy;
mod dead_letters;
mod deleted_sessions;
mod dry_run;
mod error;
mod events;
mod generations;
mod migrations;
mod outbox;
mod overview;
mod pool;
mod repair;
mod replays;
mod retention;
mod sessions;
mod standing;
mod storage;
mod stored;
mod sweep;
mod transaction;
mod transitions;
mod views;

pub use adopted_offsets::AdoptedOffset;
pub use aggregators::IncompleteAggregator;
pub use breaker::{BreakerOptions, BreakerReport, BreakerState};
pub use checkpoints::{Checkpoint, CheckpointMove, Committed, Fenced};
pub use claims::{ClaimedSession, Claims, SetAside, StoredEvents};
pub use commit::{BatchCommit, CommitError, TakenFrom};
pub use dead_letters::{
    DeadLetter, Discarding, FencedLetter, LetterCount, LetterFilter, LetterId, LetterOutcome, LetterPage, LetterStatus,
    LetterSummary, LetterToRedrive, RedrivePage, RedriveScope, Settlement, StoredLetter, headers_from_json,
    headers_to_json,
};
pub use deleted_sessions::{Deletion, Tombstone};
pub use dry_run::DryRun;
pub use error::{Failure, StoreError};
pub use events::Unreadable;
pub use generations::{
    DifferingSession, FieldDifference, Generation, GenerationDiff, GenerationId, GenerationName, Promotion,
};
pub use migrations::{MigrationState, Migrations};
pub use outbox::{
    Claim, ErrorText, OutboxEntry, OutboxRow, OutboxSelection, OutboxStanding, RowOutcome, Settled, TransitionKey,
};
pub use overview::{ExampleSession, Overview};
pub use pool::{PoolOptions, PoolReport};
pub use replays::{ReplayName, ReplayPartition, StoredReplay};
pub use retention::{Expiring, Expiry};
pub(crate) use sessions::written_version;
pub use storage::{Storage, commit, create_checkpoints, read_checkpoints};
pub use stored::{PageStart, Selection, StoredPage, StoredSession};
pub use sweep::{SeenLogEnds, Sweep, SweepInstant, SweepScope};
pub use transaction::{AsStoreError, Isolation, TransactionSpec, TransactionStatistics, Transactions};
pub use transitions::Publication;
pub use views::{
    ChangeCursor, Changes, ChangesSince, Direction, FailedExecution, FailureCursor, InvalidCursor, LastEvents,
    OtherTables, PageSize, PipelineTables, PromptLine, Recency, SessionCursor, SessionDetail, SessionFailure,
    SessionFilter, SessionOrder, SessionPage, SessionSort, SessionView, TimeRange, Timeline, TimelineCursor,
    TimelineEntry, ToolUsage, TransitionLine,
};

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, Executor, PgConnection, SqlSafeStr};

/// Every statement that the program runs against its tables.
const STATEMENTS: &[&str] = &[
    adopted_offsets::INSERT,
    adopted_offsets::READ,
    sweep::LOCK,
    sweep::MARK,
    sweep::WATERMARK,
    sweep::SILENT,
    sweep::UPDATE,
    aggregators::READ,
    aggregators::ANY_SESSION,
    aggregators::UPSERT,
    aggregators::FORGET,
    aggregates::READ,
    aggregates::DELETE,
    aggregates::UPSERT,
    checkpoints::LOCK,
    checkpoints::MOVE,
    checkpoints::READ,
    checkpoints::CREATE,
    checkpoints::OF_GROUP,
    claims::DIGESTS,
    claims::DEAD_LETTERS,
    sessions::UPDATE,
    sessions::INSERT,
    standing::SESSIONS,
    stored::SESSIONS,
    stored::WITHOUT_ROW,
    stored::ANY_EVENT,
    stored::AGGREGATES,
    transitions::INSERT,
    overview::SESSIONS_BY_STATUS,
    overview::DEAD_LETTERS_BY_REASON,
    overview::EXAMPLES,
    replays::UPSERT,
    replays::FORGET_PARTITIONS,
    replays::FORGET_CHECKPOINTS,
    replays::INSERT_PARTITIONS,
    replays::INSERT_CHECKPOINTS,
    replays::REOPEN,
    replays::FINISH,
    generations::READ,
    generations::NAME,
    generations::ID,
    generations::CHECKPOINTS,
    replays::READ,
    replays::READ_PARTITIONS,
];

/// The tables of one schema, and the connections to them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    transactions: Arc<Transactions>,
    schema: Arc<str>,
    /// What the tables must be for this store to write to them; none: whatever they are.
    generation: Option<GenerationId>,
}

impl Store {
    /// Doesn't connect yet: the first statement does.
    pub fn new(options: PoolOptions) -> Self {
        let schema = options.schema.as_str().into();
        Self { transactions: Arc::new(Transactions::new(options)), schema, generation: None }
    }

    /// The schema that holds the tables.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Connects once, beside the pool, which would try again and again: the first answer is the clearest.
    ///
    /// # Errors
    /// If Postgres can't be reached, or refuses.
    pub async fn connect_once(&self) -> Result<String, StoreError> {
        const VERSION: &str = "/* server_version */ SELECT current_setting('server_version')";
        let options = self.transactions.pool().connect_options();
        let ask = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let version: String = sqlx::query_scalar(VERSION).fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok::<_, StoreError>(version)
        };
        let patience = self.transactions.pool().options().get_acquire_timeout();
        let version = tokio::time::timeout(patience, ask).await.unwrap_or_else(|_| Err(StoreError::silent()))?;
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        Ok(format!("Postgres {version}, database {database} at {}:{}", options.get_host(), options.get_port()))
    }

    /// Prepares every statement, which checks it against the tables as they are.
    ///
    /// # Errors
    /// At the first that doesn't fit: a table, a column or the right to use the schema is missing. Also if somebody
    /// holds the tables locked.
    pub async fn check_statements(&self) -> Result<usize, StoreError> {
        let mut connection = self.transactions.pool().acquire().await?;
        let statements = || {
            STATEMENTS
                .iter()
                .copied()
                .chain(events::STATEMENTS)
                .chain(views::statements())
                .chain(deleted_sessions::STATEMENTS)
                .chain(dead_letters::STATEMENTS)
                .chain(retention::STATEMENTS)
                .chain(outbox::STATEMENTS)
        };
        connection.execute("SET lock_timeout = '5s'").await?;
        for statement in statements() {
            connection.prepare(statement.into_sql_str()).await?;
        }
        connection.execute("RESET lock_timeout").await?;
        Ok(statements().count())
    }

    /// What the transactions did so far, by name.
    pub fn statistics(&self) -> Vec<(&'static str, TransactionStatistics)> {
        self.transactions.statistics()
    }

    /// The connections that all transactions share.
    pub fn pool(&self) -> PoolReport {
        PoolReport::of(self.transactions.pool())
    }

    /// The circuit breaker that all transactions pass.
    pub fn breaker(&self) -> BreakerReport {
        self.transactions.breaker()
    }

    /// Postgres answered over a connection of somebody else's: an open circuit breaker whose time is over becomes half-open.
    pub fn note_sign_of_life(&self) {
        self.transactions.note_sign_of_life();
    }

    /// Closes the connections, in good order where that takes less than a second.
    pub async fn close(&self) {
        if tokio::time::timeout(Duration::from_secs(1), self.transactions.pool().close()).await.is_err() {
            tracing::debug!("the connections to Postgres were not closed in time");
        }
    }
}
