//! Which aggregators the tables as a whole are folded by. A changed or a new one is seen by it.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::fold::{Aggregators, SessionAggregator};

use super::{
    Store,
    error::StoreError,
    transaction::{Isolation, TransactionSpec},
};

pub(super) const READ: &str = "/* read_aggregators */
    SELECT role, aggregator FROM aggregators";

pub(super) const ANY_SESSION: &str = "/* any_session */
    SELECT EXISTS (SELECT FROM sessions)";

pub(super) const UPSERT: &str = "/* upsert_aggregators */
    INSERT INTO aggregators (role, aggregator)
    SELECT * FROM unnest($1::text[], $2::text[]) ORDER BY 1
    ON CONFLICT (role) DO UPDATE SET aggregator = excluded.aggregator, complete_since = now()
    WHERE aggregators.aggregator <> excluded.aggregator";

const SPEC: TransactionSpec = TransactionSpec {
    name: "compare_aggregators",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: None,
};

/// An aggregator that has not taken in all stored sessions. Each session is folded again by it with its next event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncompleteAggregator {
    pub wanted: String,
    /// What the sessions were folded by as a whole, if by anything.
    pub found: Option<String>,
}

impl std::fmt::Display for IncompleteAggregator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.found {
            Some(found) => write!(f, "the stored sessions were folded by {found}, not all by {}", self.wanted),
            None => write!(f, "the stored sessions were not all folded by {}", self.wanted),
        }
    }
}

/// The role of each aggregator and its name and version.
fn roles<A: SessionAggregator>(aggregators: &Aggregators<A>) -> Vec<(&'static str, String)> {
    let session = [("session", aggregators.session.id())].into_iter();
    let sides = aggregators.sides.ids().map(|id| (id.name(), id));
    session.chain(sides).map(|(role, id)| (role, id.to_string())).collect()
}

impl Store {
    /// The aggregators that have not taken in all stored sessions. Where there are none stored, all are complete from
    /// now on.
    ///
    /// # Errors
    /// If Postgres can't be asked; if the session's aggregator depends on the order of arrival and the sessions were
    /// folded by another, so that it can't take them over.
    pub async fn incomplete_aggregators<A: SessionAggregator>(
        &self,
        aggregators: &Aggregators<A>,
    ) -> Result<Vec<IncompleteAggregator>, StoreError> {
        let incomplete =
            self.transactions.run(&SPEC, async |connection| compare(connection, aggregators).await).await?;
        let session = aggregators.session.id();
        if aggregators.session.depends_on_order() && incomplete.iter().any(|found| found.wanted == session.to_string())
        {
            return Err(StoreError::other_aggregator(session));
        }
        Ok(incomplete)
    }

    /// Notes that every session was folded by these aggregators.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn mark_aggregators_complete<A: SessionAggregator>(
        &self,
        aggregators: &Aggregators<A>,
    ) -> Result<(), StoreError> {
        let roles = roles(aggregators);
        self.transactions.run(&SPEC, async |connection| upsert(connection, &roles).await).await
    }
}

async fn compare<A: SessionAggregator>(
    connection: &mut PgConnection,
    aggregators: &Aggregators<A>,
) -> Result<Vec<IncompleteAggregator>, StoreError> {
    let found: HashMap<String, String> =
        sqlx::query_as::<_, (String, String)>(READ).fetch_all(&mut *connection).await?.into_iter().collect();
    let mut missing = roles(aggregators);
    missing.retain(|(role, wanted)| found.get(*role) != Some(wanted));
    let any_session: bool = sqlx::query_scalar(ANY_SESSION).fetch_one(&mut *connection).await?;
    if !any_session && !missing.is_empty() {
        upsert(connection, &missing).await?;
        missing.clear();
    }
    let incomplete = |(role, wanted): (&str, String)| IncompleteAggregator { wanted, found: found.get(role).cloned() };
    Ok(missing.into_iter().map(incomplete).collect())
}

async fn upsert(connection: &mut PgConnection, roles: &[(&str, String)]) -> Result<(), StoreError> {
    let (roles, ids): (Vec<&str>, Vec<&str>) = roles.iter().map(|(role, id)| (*role, id.as_str())).unzip();
    sqlx::query(UPSERT).bind(&roles).bind(&ids).execute(connection).await?;
    Ok(())
}
