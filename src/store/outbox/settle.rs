//! What became of the rows that were sent.

use std::time::Duration;

use sqlx::PgConnection;

use super::{
    super::{
        Store,
        error::StoreError,
        transaction::{Isolation, TransactionSpec},
    },
    KeyColumns, TransitionKey,
};

pub(in crate::store) const PUBLISHED: &str = "/* mark_published */
    UPDATE transitions t SET published_at = now(), next_attempt_at = NULL, set_aside_at = NULL
    FROM unnest($1::text[], $2::bigint[], $3::uuid[]) AS k(session_id, session_version, id)
    WHERE t.session_id = k.session_id AND t.session_version = k.session_version AND t.id = k.id
        AND t.published_at IS NULL";

pub(in crate::store) const NOT_PUBLISHED: &str = "/* mark_not_published */
    UPDATE transitions t SET attempts = t.attempts + k.refusals, last_error = coalesce(k.error, t.last_error),
        next_attempt_at = now() + make_interval(secs => k.wait),
        set_aside_at = CASE WHEN k.set_aside THEN now() END
    FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::int[], $5::text[], $6::double precision[], $7::boolean[])
        AS k(session_id, session_version, id, refusals, error, wait, set_aside)
    WHERE t.session_id = k.session_id AND t.session_version = k.session_version AND t.id = k.id
        AND t.published_at IS NULL AND t.set_aside_at IS NULL";

/// Both or neither: a session's first row must not be free before the one after it waits.
const SPEC: TransactionSpec = TransactionSpec {
    name: "settle_transitions",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: None,
};

/// Why a row was refused: at most 1,000 characters, none of them U+0000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorText(String);

impl ErrorText {
    const LONGEST: usize = 1_000;

    /// Of a text that quotes nothing of the record and holds no secret.
    pub fn new(text: &str) -> Self {
        let kept = text.chars().filter(|c| *c != '\0').take(Self::LONGEST);
        Self(kept.collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowOutcome {
    /// The brokers have it.
    Published,
    /// This row was refused. It is sent again after a while; the session's later rows wait for it.
    Refused { why: ErrorText, wait: Duration },
    /// It was refused too often. The session's later rows go on.
    SetAside { why: ErrorText },
    /// It wasn't sent, or that isn't known, for a cause that is not its own.
    Released { wait: Duration },
}

/// A row with its outcome.
pub type Settled = (TransitionKey, RowOutcome);

impl Store {
    /// Notes what became of rows, by their keys: also where the tables are another generation's by now, to which a
    /// promotion has carried them over.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn settle_transitions(&self, outcomes: &[Settled]) -> Result<(), StoreError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let (published, others): (Vec<&Settled>, Vec<&Settled>) =
            outcomes.iter().partition(|(_, outcome)| *outcome == RowOutcome::Published);
        let body = async |connection: &mut PgConnection| {
            mark_published(connection, &published).await?;
            mark_not_published(connection, &others).await
        };
        self.transactions.run(&SPEC, body).await
    }
}

async fn mark_published(connection: &mut PgConnection, rows: &[&Settled]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let keys = KeyColumns::of(rows.iter().map(|(key, _)| key));
    let query = sqlx::query(PUBLISHED).bind(keys.sessions).bind(keys.versions).bind(keys.ids);
    query.execute(connection).await?;
    Ok(())
}

async fn mark_not_published(connection: &mut PgConnection, rows: &[&Settled]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let keys = KeyColumns::of(rows.iter().map(|(key, _)| key));
    let outcomes = rows.iter().map(|(_, outcome)| outcome);
    let why = |outcome: &RowOutcome| match outcome {
        RowOutcome::Refused { why, .. } | RowOutcome::SetAside { why } => Some(why.as_str().to_owned()),
        RowOutcome::Released { .. } | RowOutcome::Published => None,
    };
    let wait = |outcome: &RowOutcome| match outcome {
        RowOutcome::Refused { wait, .. } | RowOutcome::Released { wait } => wait.as_secs_f64(),
        RowOutcome::SetAside { .. } | RowOutcome::Published => 0.0,
    };
    let query = sqlx::query(NOT_PUBLISHED)
        .bind(keys.sessions)
        .bind(keys.versions)
        .bind(keys.ids)
        .bind(outcomes.clone().map(|outcome| i32::from(why(outcome).is_some())).collect::<Vec<_>>())
        .bind(outcomes.clone().map(why).collect::<Vec<_>>())
        .bind(outcomes.clone().map(wait).collect::<Vec<_>>())
        .bind(outcomes.map(|outcome| matches!(outcome, RowOutcome::SetAside { .. })).collect::<Vec<_>>());
    query.execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_at_most_a_thousand_characters_and_none_that_postgres_refuses() {
        let text = ErrorText::new(&format!("a\0{}", "ä".repeat(5_000)));
        assert_eq!(text.as_str().chars().count(), 1_000);
        assert!(text.as_str().starts_with("aä"));
    }
}
