//! The named transaction runner: begin, commit, rollback, retry and measurement in one place.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction};

use crate::backoff::Backoff;

use super::{
    breaker::{Breaker, BreakerReport},
    error::{Failure, StoreError},
    pool::{self, PoolOptions},
};

/// What isolation a transaction asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    RepeatableRead,
}

/// What a transaction is called and how it runs.
#[derive(Clone, Copy, Debug)]
pub struct TransactionSpec {
    /// Names it in statistics and logs.
    pub name: &'static str,
    pub isolation: Isolation,
    pub read_only: bool,
    /// Instead of the configured one, for statements that may rightly take longer.
    pub statement_timeout: Option<Duration>,
}

impl TransactionSpec {
    fn begin(&self, statement_timeout: Duration) -> String {
        let isolation = match self.isolation {
            Isolation::ReadCommitted => "READ COMMITTED",
            Isolation::RepeatableRead => "REPEATABLE READ",
        };
        let access = if self.read_only { "READ ONLY" } else { "READ WRITE" };
        let timeout = self.statement_timeout.unwrap_or(statement_timeout).as_millis();
        format!("BEGIN ISOLATION LEVEL {isolation} {access}; SET LOCAL statement_timeout = {timeout}")
    }
}

/// What the transactions of one name did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionStatistics {
    pub commits: u64,
    /// Tries that ran into another transaction (40001, 40P01) and were repeated.
    pub retries: u64,
    /// Tries that failed otherwise.
    pub failures: u64,
    /// Time spent, from begin to the end of commit or rollback.
    pub time: Duration,
    /// Tries that haven't ended yet.
    pub under_way: u32,
}

/// A try that counts as under way until it is dropped, as it also is where nobody waits for its end.
struct UnderWay<'t> {
    transactions: &'t Transactions,
    name: &'static str,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.transactions.statistics_of(self.name, |statistics| statistics.under_way -= 1);
    }
}

/// How often a transaction is tried before contention counts as a failure.
const MAX_ATTEMPTS: u32 = 8;

/// How long Postgres may take to say why it lets nobody in.
const ONE_QUESTION: Duration = Duration::from_secs(1);

/// Runs transactions on a pool of connections.
#[derive(Debug)]
pub struct Transactions {
    pool: PgPool,
    statement_timeout: Duration,
    breaker: Breaker,
    statistics: Mutex<BTreeMap<&'static str, TransactionStatistics>>,
}

impl Transactions {
    pub(super) fn new(options: PoolOptions) -> Self {
        Self {
            pool: pool::open(&options),
            statement_timeout: options.statement_timeout,
            breaker: Breaker::new(options.breaker),
            statistics: Mutex::default(),
        }
    }

    pub(super) fn breaker(&self) -> BreakerReport {
        self.breaker.report()
    }

    pub(super) fn note_sign_of_life(&self) {
        self.breaker.note_sign_of_life();
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(super) fn statistics(&self) -> Vec<(&'static str, TransactionStatistics)> {
        let statistics = self.statistics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        statistics.iter().map(|(name, statistics)| (*name, *statistics)).collect()
    }

    /// Runs `body` between BEGIN and COMMIT. Any error of `body` rolls back. Contention is retried with jittered
    /// backoff, so `body` may be called more than once; it never commits.
    ///
    /// # Errors
    /// The error of the last try. [`Failure::InDoubt`] where the connection broke during COMMIT. While the breaker is
    /// open, an error at once that says how long it stays so.
    pub async fn run<T, E: From<StoreError> + AsStoreError>(
        &self,
        spec: &TransactionSpec,
        mut body: impl AsyncFnMut(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(500));
        loop {
            let permit = self.breaker.admit().map_err(StoreError::left_alone)?;
            let begun = Instant::now();
            let under_way = self.begin(spec.name);
            let result = self.attempt(spec, &mut body).await;
            drop(under_way);
            let error = result.as_ref().err().and_then(AsStoreError::as_store_error);
            match error {
                // Postgres wasn't asked.
                Some(error) if error.is_our_own => drop(permit),
                Some(error) if error.says_that_postgres_is_away() => permit.failed(spec.name, error),
                _ => permit.answered(spec.name),
            }
            let contention = error.is_some_and(|error| error.failure == Failure::Contention);
            let retry = contention && backoff.attempts() + 1 < MAX_ATTEMPTS;
            self.count(spec.name, begun.elapsed(), result.is_ok(), retry);
            if !retry {
                return result;
            }
            tracing::debug!(transaction = spec.name, attempt = backoff.attempts() + 1, "contention, trying again");
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn attempt<T, E: From<StoreError>>(
        &self,
        spec: &TransactionSpec,
        body: &mut impl AsyncFnMut(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = match self.pool.acquire().await {
            Ok(connection) => connection,
            Err(error) => return Err(self.refusal(error).await.into()),
        };
        // Postgres ends a statement that takes too long. Where it can't, because it or the way to it is gone without a
        // word, nothing but this ends the wait.
        let patience = spec.statement_timeout.unwrap_or(self.statement_timeout) * 2 + Duration::from_secs(5);
        let result =
            match tokio::time::timeout(patience, in_transaction(&mut connection, spec, self.statement_timeout, body))
                .await
            {
                Ok(Ok((value, transaction))) => match tokio::time::timeout(patience, transaction.commit()).await {
                    Ok(committed) => {
                        return committed
                            .map(|()| value)
                            .map_err(|error| StoreError::from(error).during_commit().into());
                    }
                    Err(_) => Err(StoreError::silent().during_commit().into()),
                },
                Ok(Err(error)) => return Err(error),
                Err(_) => Err(StoreError::silent().into()),
            };
        // It would be asked whether it still lives before it is used again, and wouldn't answer that either.
        connection.close_on_drop();
        result
    }

    /// Why there is no connection. The pool asks again and again, and then tells no more than that it took too long;
    /// what Postgres says when it is asked once tells an operator what to do.
    async fn refusal(&self, error: sqlx::Error) -> StoreError {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            let options = self.pool.connect_options();
            let ask = PgConnection::connect_with(&options);
            match tokio::time::timeout(ONE_QUESTION, ask).await {
                Ok(Ok(_)) => return StoreError::no_connection_is_free(self.pool.options().get_max_connections()),
                Ok(Err(refusal)) => return refusal.into(),
                Err(_) => return StoreError::silent(),
            }
        }
        error.into()
    }

    fn begin(&self, name: &'static str) -> UnderWay<'_> {
        self.statistics_of(name, |statistics| statistics.under_way += 1);
        UnderWay { transactions: self, name }
    }

    fn count(&self, name: &'static str, time: Duration, committed: bool, retry: bool) {
        self.statistics_of(name, |statistics| {
            statistics.time += time;
            statistics.commits += u64::from(committed);
            statistics.retries += u64::from(retry);
            statistics.failures += u64::from(!committed && !retry);
        });
    }

    fn statistics_of(&self, name: &'static str, change: impl FnOnce(&mut TransactionStatistics)) {
        let mut statistics = self.statistics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(statistics.entry(name).or_default());
    }
}

/// Begins and runs the body. Dropping the transaction, on an error, queues its rollback.
async fn in_transaction<'c, T, E: From<StoreError>>(
    connection: &'c mut PgConnection,
    spec: &TransactionSpec,
    statement_timeout: Duration,
    body: &mut impl AsyncFnMut(&mut PgConnection) -> Result<T, E>,
) -> Result<(T, Transaction<'c, Postgres>), E> {
    // Made of our own numbers and words only.
    let begin = AssertSqlSafe(spec.begin(statement_timeout));
    let mut transaction = connection.begin_with(begin).await.map_err(StoreError::from)?;
    let value = body(&mut transaction).await?;
    Ok((value, transaction))
}

/// What the runner needs to know of a body's error: whether it is about Postgres.
pub trait AsStoreError {
    fn as_store_error(&self) -> Option<&StoreError>;
}

impl AsStoreError for StoreError {
    fn as_store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}
