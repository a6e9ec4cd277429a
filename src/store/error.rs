//! One vocabulary for what goes wrong between us and Postgres, classified once, here.

use std::{borrow::Cow, time::Duration};

use sqlx::postgres::PgDatabaseError;

use crate::fold::AggregatorId;

/// What a failure calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Another transaction was in the way (40001, 40P01): the same transaction may succeed at once.
    Contention,
    /// Postgres is away, full, or shutting down: the same transaction may succeed later.
    Unavailable,
    /// The connection broke while COMMIT was under way: it may have happened. The checkpoint decides.
    InDoubt,
    /// Postgres refuses the data; no retry can mend that.
    Data,
    /// The database is not what this build expects (a table or a right is missing): somebody has to act.
    Setup,
}

/// A failure of Postgres or of the connection to it. Its text never quotes a row's data or a password.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    pub failure: Failure,
    what: Cow<'static, str>,
    /// Five characters by which Postgres names its errors, where it was Postgres that failed.
    pub sqlstate: Option<Box<str>>,
    /// The one that the data violates.
    constraint: Option<Box<str>>,
    /// Not asked at all: the circuit breaker is open for so long.
    pub retry_after: Option<Duration>,
    /// Not asked at all, for want of a connection of our own. It says nothing of Postgres.
    pub(super) is_our_own: bool,
    /// Asked, and not answered in time: it is away, or its statements take long, each by itself not too long.
    is_silence: bool,
}

impl StoreError {
    pub fn new(failure: Failure, what: impl Into<Cow<'static, str>>) -> Self {
        Self {
            failure,
            what: what.into(),
            sqlstate: None,
            constraint: None,
            retry_after: None,
            is_our_own: false,
            is_silence: false,
        }
    }

    /// No answer at all, for longer than any statement may take.
    pub(crate) fn silent() -> Self {
        Self { is_silence: true, ..Self::new(Failure::Unavailable, "Postgres does not answer") }
    }

    /// The circuit breaker let nothing through.
    pub(super) fn left_alone(retry_after: Duration) -> Self {
        let what = "Postgres did not answer several times in a row, and is left alone for a while";
        Self { retry_after: Some(retry_after), ..Self::new(Failure::Unavailable, what) }
    }

    /// All connections that we may have are in use, and Postgres would give another one.
    pub(super) fn no_connection_is_free(most: u32) -> Self {
        let what = format!("all {most} connections of postgres.max_connections are in use");
        Self { is_our_own: true, ..Self::new(Failure::Unavailable, what) }
    }

    /// Whether the circuit breaker counts it. A statement that took too long, or waited for a lock for too long, was ended
    /// by a Postgres that answers.
    pub(super) fn says_that_postgres_is_away(&self) -> bool {
        matches!(self.failure, Failure::Unavailable | Failure::InDoubt)
            && !self.is_statement_timeout()
            && !self.is_lock_timeout()
    }

    /// A stored row that this build can't have written.
    pub(super) fn corrupt(table: &str, column: &str) -> Self {
        Self::new(Failure::Setup, format!("table {table} holds a value in column {column} that this build can't read"))
    }

    /// Sessions whose sets of events another aggregator chose.
    pub(crate) fn other_aggregator(wanted: AggregatorId) -> Self {
        let what = format!(
            "the tables hold sessions that another aggregator folded, and {wanted} can't take them over: set \
             postgres.schema and kafka.group_id to new names and read the topics from their beginning"
        );
        Self::new(Failure::Setup, what)
    }

    /// It took too long: with less at once it may not.
    pub fn less_may_succeed(&self) -> bool {
        self.is_statement_timeout() || self.is_silence
    }

    /// Postgres gave up on a statement that took too long.
    pub fn is_statement_timeout(&self) -> bool {
        self.sqlstate.as_deref() == Some("57014")
    }

    /// A row with the same key is there, by this constraint.
    pub(super) fn is_duplicate_of(&self, key: &str) -> bool {
        self.sqlstate.as_deref() == Some("23505") && self.constraint.as_deref() == Some(key)
    }

    /// Somebody else held a lock for longer than it was to be waited for.
    pub fn is_lock_timeout(&self) -> bool {
        self.sqlstate.as_deref() == Some("55P03")
    }

    /// The same failure, met while COMMIT was under way.
    pub(super) fn during_commit(mut self) -> Self {
        if self.failure == Failure::Unavailable {
            self.failure = Failure::InDoubt;
        }
        self
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => from_database(database.as_ref()),
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::new(Failure::Unavailable, error.to_string())
            }
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Self::new(Failure::Setup, error.to_string()),
            // The server's answer was cut off or is not Postgres's protocol.
            sqlx::Error::Protocol(_) => Self::new(Failure::Unavailable, "the connection to Postgres broke"),
            // Encoding, decoding and column errors may quote values.
            _ => Self::new(Failure::Setup, "Postgres's answer is not what this build expects"),
        }
    }
}

fn from_database(error: &dyn sqlx::error::DatabaseError) -> StoreError {
    let sqlstate = error.code().unwrap_or(Cow::Borrowed("XX000")).into_owned();
    let failure = classify(&sqlstate);
    let what = match failure {
        // The message of a data error quotes the data.
        Failure::Data => match error.constraint() {
            Some(constraint) => format!("Postgres refuses the data (SQLSTATE {sqlstate}, constraint {constraint})"),
            None => format!("Postgres refuses the data (SQLSTATE {sqlstate})"),
        },
        _ if is_raised_by_code(error) => {
            format!("a function or trigger of the database raised an error (SQLSTATE {sqlstate})")
        }
        _ => format!("{} (SQLSTATE {sqlstate})", error.message()),
    };
    let constraint = error.constraint().map(Box::from);
    StoreError { sqlstate: Some(sqlstate.into_boxed_str()), constraint, ..StoreError::new(failure, what) }
}

/// Whether the error was raised in a procedural language. Its SQLSTATE may be any, and its message may quote the data. It
/// is known by the source file of Postgres that reports it.
fn is_raised_by_code(error: &dyn sqlx::error::DatabaseError) -> bool {
    const LANGUAGES: [&str; 4] = ["pl_", "plpy", "plperl", "pltcl"];
    let file = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::file);
    file.is_some_and(|file| LANGUAGES.iter().any(|language| file.starts_with(language)))
}

/// By the classes of Postgres's appendix "Error Codes".
fn classify(sqlstate: &str) -> Failure {
    match sqlstate {
        "40001" | "40P01" => Failure::Contention,
        // Sessions ended for being idle in a transaction, or for its length.
        "25P03" | "25P04" => Failure::Unavailable,
        // Read-only: what a standby answers while another server is being promoted.
        "25006" => Failure::Unavailable,
        _ => match sqlstate.get(..2) {
            // Connections, rollbacks, resources (disk, memory, connections), locks, operator intervention, system and
            // internal errors.
            Some("08" | "40" | "53" | "55" | "57" | "58" | "XX") => Failure::Unavailable,
            // Wrong password, no such database or role, missing rights, tables, columns or prepared statements.
            Some("28" | "3D" | "3F" | "42" | "0A" | "25" | "26") => Failure::Setup,
            // Data exceptions, constraint violations, program limits (an index row too long), and whatever a trigger of
            // the database's owner raises: to try that again for ever would stop all that comes after it.
            _ => Failure::Data,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_may_succeed_where_time_ran_out_and_not_where_nobody_was_asked() {
        assert!(StoreError::silent().less_may_succeed());
        assert!(!StoreError::left_alone(Duration::from_secs(1)).less_may_succeed());
        assert!(!StoreError::no_connection_is_free(4).less_may_succeed());
    }

    #[test]
    fn errors_are_classified_by_what_they_call_for() {
        for (sqlstate, failure) in [
            ("40001", Failure::Contention),
            ("40P01", Failure::Contention),
            ("40002", Failure::Unavailable),
            ("22P05", Failure::Data),
            ("23514", Failure::Data),
            ("54000", Failure::Data),
            ("P0001", Failure::Data),
            ("45000", Failure::Data),
            ("38001", Failure::Data),
            ("", Failure::Data),
            ("26000", Failure::Setup),
            ("28P01", Failure::Setup),
            ("42P01", Failure::Setup),
            ("42501", Failure::Setup),
            ("25006", Failure::Unavailable),
            ("53100", Failure::Unavailable),
            ("53300", Failure::Unavailable),
            ("57014", Failure::Unavailable),
            ("57P01", Failure::Unavailable),
            ("08006", Failure::Unavailable),
            ("55P03", Failure::Unavailable),
            ("58030", Failure::Unavailable),
            ("XX000", Failure::Unavailable),
        ] {
            assert_eq!(classify(sqlstate), failure, "{sqlstate}");
        }
    }

    #[test]
    fn a_break_during_commit_is_in_doubt_and_a_refusal_is_not() {
        let unavailable = StoreError::new(Failure::Unavailable, "gone").during_commit();
        assert_eq!(unavailable.failure, Failure::InDoubt);
        let contention = StoreError::new(Failure::Contention, "serialization").during_commit();
        assert_eq!(contention.failure, Failure::Contention);
    }
}
