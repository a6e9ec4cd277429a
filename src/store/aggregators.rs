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
    SELECT aggregator FROM sessions LIMIT 1";

/// Those that are behind from now on: only a repair of all sessions makes them complete again.
pub(super) const FORGET: &str = "/* forget_aggregators */
    DELETE FROM aggregators WHERE role <> ALL($1::text[])";

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

/// The role of the session's own aggregator; the others have their names.
const SESSION: &str = "session";

/// The role of each aggregator and its name and version.
fn roles<A: SessionAggregator>(aggregators: &Aggregators<A>) -> Vec<(&'static str, String)> {
    let session = [(SESSION, aggregators.session.id())].into_iter();
    let sides = aggregators.sides.ids().map(|id| (id.name(), id));
    session.chain(sides).map(|(role, id)| (role, id.to_string())).collect()
}

impl Store {
    /// The aggregators that have not taken in all stored sessions. Where there are none stored, all are complete from
    /// now on. Any other aggregator counts as incomplete from now on, since this program doesn't feed it.
    ///
    /// # Errors
    /// If Postgres can't be asked; if another aggregator, whose set of events may be another, folded the sessions; or
    /// another version of one that depends on the order of arrival.
    pub async fn incomplete_aggregators<A: SessionAggregator>(
        &self,
        aggregators: &Aggregators<A>,
    ) -> Result<Vec<IncompleteAggregator>, StoreError> {
        self.transactions.run(&SPEC, async |connection| compare(connection, aggregators).await).await
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
    let any_session: Option<String> = sqlx::query_scalar(ANY_SESSION).fetch_optional(&mut *connection).await?;
    let (complete, missing): (Vec<_>, Vec<_>) =
        roles(aggregators).into_iter().partition(|(role, wanted)| found.get(*role) == Some(wanted));
    let Some(any_session) = any_session else {
        upsert(connection, &missing).await?;
        forget_others(connection, aggregators).await?;
        return Ok(Vec::new());
    };
    if !can_take_over(&aggregators.session, found.get(SESSION).unwrap_or(&any_session)) {
        return Err(StoreError::other_aggregator(aggregators.session.id()));
    }
    forget_all_but(connection, &complete).await?;
    let incomplete = |(role, wanted): (&str, String)| IncompleteAggregator { wanted, found: found.get(role).cloned() };
    Ok(missing.into_iter().map(incomplete).collect())
}

/// Whether sessions that this one folded can be folded on. Another one may have let other events into their sets; and
/// where the order of arrival matters, a set can't be folded again.
pub(super) fn can_take_over<A: SessionAggregator>(aggregator: &A, folded_by: &str) -> bool {
    let id = aggregator.id();
    let is_of_this_name = folded_by.split_once('/').is_some_and(|(name, _)| name == id.name());
    folded_by == id.to_string() || (is_of_this_name && !aggregator.depends_on_order())
}

/// Notes that only these are complete.
async fn forget_all_but(connection: &mut PgConnection, complete: &[(&str, String)]) -> Result<(), StoreError> {
    let roles: Vec<&str> = complete.iter().map(|(role, _)| *role).collect();
    sqlx::query(FORGET).bind(&roles).execute(connection).await?;
    Ok(())
}

/// Notes that sessions were written which the aggregators of other programs have not taken in.
pub(super) async fn forget_others<A: SessionAggregator>(
    connection: &mut PgConnection,
    aggregators: &Aggregators<A>,
) -> Result<(), StoreError> {
    forget_all_but(connection, &roles(aggregators)).await
}

async fn upsert(connection: &mut PgConnection, roles: &[(&str, String)]) -> Result<(), StoreError> {
    if roles.is_empty() {
        return Ok(());
    }
    let (roles, ids): (Vec<&str>, Vec<&str>) = roles.iter().map(|(role, id)| (*role, id.as_str())).unzip();
    sqlx::query(UPSERT).bind(&roles).bind(&ids).execute(connection).await?;
    Ok(())
}
