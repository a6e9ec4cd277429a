//! Why a call has no answer, in words for whoever asked. They never quote what an error of Postgres says.

use std::{fmt, time::Duration};

use crate::store::{Failure, StoreError};

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallFailure {
    /// What is wrong with the arguments.
    Arguments(String),
    /// No such session.
    Unknown,
    /// Postgres can't be asked; to be asked again after so long.
    Unavailable(Option<Duration>),
    /// It took longer than `mcp.timeout` allows.
    TooSlow,
    /// Postgres refuses, and asking again doesn't help.
    Refused,
    /// Whoever asked no longer waits.
    Cancelled,
}

impl CallFailure {
    pub(super) fn arguments(why: impl fmt::Display) -> Self {
        Self::Arguments(why.to_string())
    }

    /// Its outcome, as it is counted.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Arguments(_) => Outcome::Arguments,
            Self::Unknown => Outcome::Unknown,
            Self::Unavailable(_) => Outcome::Unavailable,
            Self::TooSlow => Outcome::Timeout,
            Self::Refused => Outcome::Error,
            Self::Cancelled => Outcome::Cancelled,
        }
    }
}

impl From<StoreError> for CallFailure {
    fn from(error: StoreError) -> Self {
        match error.failure {
            _ if error.is_statement_timeout() => Self::TooSlow,
            Failure::Contention | Failure::Unavailable | Failure::InDoubt => Self::Unavailable(error.retry_after),
            Failure::Data | Failure::Setup => {
                tracing::warn!(%error, "a question of an agent could not be answered");
                Self::Refused
            }
        }
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(why) => write!(f, "wrong arguments: {why}"),
            Self::Unknown => f.write_str("no such session is stored"),
            Self::Unavailable(after) => {
                let seconds = after.unwrap_or_default().as_millis().div_ceil(1_000).max(1);
                write!(f, "the sessions can't be read now: ask again in {seconds} s")
            }
            Self::TooSlow => f.write_str("it took longer than mcp.timeout: ask for a shorter time or for less"),
            Self::Refused => f.write_str("the database refuses to answer; the log of sessionfold says why"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::serve) enum Outcome {
    Answered,
    Arguments,
    Unknown,
    Unavailable,
    Timeout,
    Error,
    Cancelled,
}

impl Outcome {
    pub(in crate::serve) const ALL: [Self; 7] = [
        Self::Answered,
        Self::Arguments,
        Self::Unknown,
        Self::Unavailable,
        Self::Timeout,
        Self::Error,
        Self::Cancelled,
    ];

    pub(in crate::serve) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Arguments => "arguments",
            Self::Unknown => "unknown",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgres_says_is_not_told_but_when_to_come_back_is() {
        let error = StoreError::new(Failure::Setup, "relation \"sessions\" does not exist");
        assert!(!CallFailure::from(error).to_string().contains("sessions\""));
        let mut error = StoreError::new(Failure::Unavailable, "connection refused");
        error.retry_after = Some(Duration::from_millis(4_001));
        assert_eq!(CallFailure::from(error).to_string(), "the sessions can't be read now: ask again in 5 s");
    }
}
