//! What is to be sent next, and nobody else sends.

use std::time::Duration;

use sqlx::{PgConnection, types::Uuid};

use super::{
    super::{
        Store,
        error::StoreError,
        transaction::{Isolation, TransactionSpec},
    },
    KeyColumns, TransitionKey,
};

/// Asked first, as by all who write: a promotion locks this table before the others.
pub(in crate::store) const PROMOTED_JUST_NOW: &str = "/* promoted_just_now */
    SELECT coalesce(promoted_at > now() - make_interval(secs => $1), false) FROM generation
    WHERE is_the_only_row";

/// The first row of each session that has unpublished ones, in the order of the index. What a promotion carried over may
/// be under way still, by a lease that the copy doesn't know of: $3 says that it is to wait.
pub(in crate::store) const HEADS: &str = "/* unpublished_heads */
    SELECT DISTINCT ON (session_id) session_id, session_version, id,
        (next_attempt_at IS NULL OR next_attempt_at <= now()) AND NOT ($3 AND carried_over > 0) AS is_due
    FROM transitions
    WHERE published_at IS NULL AND NOT withheld AND set_aside_at IS NULL AND session_id > $1
    ORDER BY session_id, carried_over DESC, session_version
    LIMIT $2";

/// Who comes second finds the row locked, or not due any more. It must not ask for what the index asks for in all: a planner
/// that takes that index for empty, by old statistics, would read it whole for each row. (`withheld` can't have changed.)
pub(in crate::store) const LEASE: &str = "/* lease_transitions */
    WITH due AS MATERIALIZED (
        SELECT t.session_id, t.session_version, t.id
        FROM unnest($1::text[], $2::bigint[], $3::uuid[]) AS k(session_id, session_version, id)
        JOIN transitions t
            ON t.session_id = k.session_id AND t.session_version = k.session_version AND t.id = k.id
        WHERE t.published_at IS NULL AND t.set_aside_at IS NULL
            AND (t.next_attempt_at IS NULL OR t.next_attempt_at <= now())
        FOR NO KEY UPDATE OF t SKIP LOCKED
    )
    UPDATE transitions t SET next_attempt_at = now() + make_interval(secs => $4)
    FROM due
    WHERE t.session_id = due.session_id AND t.session_version = due.session_version AND t.id = due.id
    RETURNING t.session_id";

/// The first of each session before any second.
pub(in crate::store) const ROWS: &str = "/* leased_transitions */
    SELECT t.session_id, t.session_version, t.id, t.attempts, t.place = 1 OR t.is_due, (t.payload || jsonb_build_object(
            'id', t.id,
            'occurred_at', to_char(t.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
        ))::text
    FROM unnest($1::text[]) AS s(session_id)
    CROSS JOIN LATERAL (
        SELECT *, next_attempt_at IS NULL OR next_attempt_at <= now() AS is_due,
            row_number() OVER (ORDER BY carried_over DESC, session_version) AS place
        FROM transitions
        WHERE session_id = s.session_id AND published_at IS NULL AND NOT withheld AND set_aside_at IS NULL
        ORDER BY carried_over DESC, session_version
        LIMIT $2
    ) AS t
    ORDER BY t.place, t.session_id
    LIMIT $3";

/// More rows of one session wait for the next round: they are sent one after the other.
const MOST_OF_A_SESSION: i64 = 32;

const SPEC: TransactionSpec = TransactionSpec {
    name: "claim_transitions",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: None,
};

/// A row to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    pub key: TransitionKey,
    /// How often it was refused before.
    pub attempts: u32,
    /// The message, as JSON.
    pub value: String,
}

/// What one round sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The rows of each session, in order. The first is leased; each of the others may be sent once those before it were
    /// delivered.
    pub sessions: Vec<Vec<OutboxRow>>,
    /// Behind which session the next round begins; none where this one came to the end of what is unpublished.
    pub next: Option<String>,
}

type HeadRow = (String, i64, Uuid, bool);
type Row = (String, i64, Uuid, i32, bool, String);

impl Store {
    /// Claims up to `rows` rows, of sessions that come after one, for the time of the lease: meanwhile nobody else claims
    /// these sessions. What others have claimed, or waits after a failure, is passed over, with all later rows of its
    /// session.
    ///
    /// It reads the tables that are live, whatever generation they are.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn claim_transitions(
        &self,
        after: Option<&str>,
        rows: u32,
        lease: Duration,
    ) -> Result<Claim, StoreError> {
        let body = async |connection: &mut PgConnection| claim(connection, after, rows, lease).await;
        self.transactions.run(&SPEC, body).await
    }
}

async fn claim(
    connection: &mut PgConnection,
    after: Option<&str>,
    rows: u32,
    lease: Duration,
) -> Result<Claim, StoreError> {
    let query = sqlx::query_scalar(PROMOTED_JUST_NOW).bind(lease.as_secs_f64());
    let promoted_just_now: bool = query.fetch_one(&mut *connection).await?;
    let query = sqlx::query_as(HEADS).bind(after.unwrap_or("")).bind(i64::from(rows)).bind(promoted_just_now);
    let heads: Vec<HeadRow> = query.fetch_all(&mut *connection).await?;
    let is_full = heads.len() >= rows as usize;
    let next = heads.last().filter(|_| is_full).map(|(session_id, ..)| session_id.clone());
    let due: Vec<TransitionKey> = heads
        .into_iter()
        .filter(|(.., is_due)| *is_due)
        .map(|(session_id, session_version, id, _)| TransitionKey { session_id, session_version, id })
        .collect();
    if due.is_empty() {
        return Ok(Claim { sessions: Vec::new(), next });
    }
    let keys = KeyColumns::of(due.iter());
    let query = sqlx::query_scalar(LEASE).bind(keys.sessions).bind(keys.versions).bind(keys.ids);
    let leased: Vec<String> = query.bind(lease.as_secs_f64()).fetch_all(&mut *connection).await?;
    let query = sqlx::query_as(ROWS).bind(leased).bind(MOST_OF_A_SESSION).bind(i64::from(rows));
    Ok(Claim { sessions: by_session(query.fetch_all(connection).await?), next })
}

/// Each session's rows up to the first that isn't due.
fn by_session(rows: Vec<Row>) -> Vec<Vec<OutboxRow>> {
    let mut sessions = std::collections::BTreeMap::<String, (bool, Vec<OutboxRow>)>::new();
    for (session_id, session_version, id, attempts, is_due, value) in rows {
        let (goes_on, of_session) = sessions.entry(session_id.clone()).or_insert((true, Vec::new()));
        *goes_on &= is_due;
        if *goes_on {
            let key = TransitionKey { session_id, session_version, id };
            of_session.push(OutboxRow { key, attempts: attempts.unsigned_abs(), value });
        }
    }
    sessions.into_values().map(|(_, rows)| rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stops_at_its_first_row_that_is_not_due() {
        let row = |session: &str, version: i64, is_due: bool| {
            (session.to_owned(), version, Uuid::nil(), 0, is_due, String::new())
        };
        let rows = vec![row("a", 1, true), row("b", 1, true), row("a", 2, false), row("b", 2, true), row("a", 3, true)];
        let versions: Vec<Vec<i64>> =
            by_session(rows).iter().map(|rows| rows.iter().map(|row| row.key.session_version).collect()).collect();
        assert_eq!(versions, [vec![1], vec![1, 2]]);
    }
}
