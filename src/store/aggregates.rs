//! The table `aggregates`: the states of the aggregators beside the session's.
//!
//! A row is guarded by the version of its session: whoever changes one has written the session's row before, in the
//! same transaction.

use std::collections::BTreeSet;

use foldhash::HashMap;
use serde_json::value::RawValue;
use sqlx::{PgConnection, types::Json};

use crate::{
    event::{Event, SessionId},
    fold::{LoadedSideState, SessionChange, SideAggregators},
};

use super::error::{Failure, StoreError};

pub(super) const READ: &str = "/* read_aggregates */
    SELECT a.session_id, a.aggregator, a.key, a.state
    FROM unnest($1::text[], $2::text[], $3::text[]) AS k(session_id, aggregator, key)
    JOIN aggregates a ON a.session_id = k.session_id AND a.aggregator = k.aggregator AND a.key = k.key";

pub(super) const DELETE: &str = "/* delete_aggregates */
    DELETE FROM aggregates a
    USING unnest($1::text[], $2::text[]) AS k(session_id, aggregator)
    WHERE a.session_id = k.session_id AND a.aggregator = k.aggregator";

pub(super) const UPSERT: &str = "/* upsert_aggregates */
    INSERT INTO aggregates (session_id, aggregator, key, state)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[])
    ON CONFLICT (session_id, aggregator, key) DO UPDATE SET state = excluded.state, updated_at = now()";

/// Reads the states that these events belong to.
pub(super) async fn read(
    connection: &mut PgConnection,
    sides: &SideAggregators,
    events: &[&Event],
    states: &mut HashMap<SessionId, Vec<LoadedSideState>>,
) -> Result<(), StoreError> {
    if sides.is_empty() || events.is_empty() {
        return Ok(());
    }
    let keys_of = |event: &&'_ Event| -> Vec<_> {
        sides.keys_of(event).map(|(name, key)| (event.session_id.as_str().to_owned(), name, key.into_owned())).collect()
    };
    let mut wanted: Vec<_> = events.iter().flat_map(keys_of).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let sessions: Vec<&str> = wanted.iter().map(|(session, ..)| session.as_str()).collect();
    let names: Vec<&str> = wanted.iter().map(|(_, name, _)| *name).collect();
    let keys: Vec<&str> = wanted.iter().map(|(.., key)| key.as_str()).collect();
    let rows = sqlx::query_as::<_, (String, String, String, Json<Box<RawValue>>)>(READ);
    for row in rows.bind(&sessions).bind(&names).bind(&keys).fetch_all(connection).await? {
        let (session_id, aggregator, key, Json(state)) = row;
        let session_id = SessionId::parse(&session_id).map_err(|_| StoreError::corrupt("aggregates", "session_id"))?;
        states.entry(session_id).or_default().push(LoadedSideState { aggregator, key, state });
    }
    Ok(())
}

/// Writes what changed. The rows of `changes` in `sessions` were written before, in this transaction.
pub(super) async fn write<S>(
    connection: &mut PgConnection,
    changes: &[SessionChange<'_, S>],
) -> Result<(), StoreError> {
    let sides = || changes.iter().flat_map(|change| change.sides.iter().map(|side| (change.session_id.as_str(), side)));
    let (sessions, names): (Vec<_>, Vec<_>) =
        sides().filter(|(_, side)| side.anew).map(|(session, side)| (session, side.id.name())).unzip();
    if !sessions.is_empty() {
        sqlx::query(DELETE).bind(&sessions).bind(&names).execute(&mut *connection).await?;
    }
    let (mut sessions, mut names, mut keys, mut states) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (session, side) in sides() {
        for (key, state) in &side.states {
            let state = state.as_ref().map_err(|error| {
                StoreError::new(Failure::Setup, format!("the state of aggregator {} is no JSON: {error}", side.id))
            })?;
            sessions.push(session);
            names.push(side.id.name());
            keys.push(key.as_str());
            states.push(Json(&**state));
        }
    }
    if !sessions.is_empty() {
        let query = sqlx::query(UPSERT).bind(&sessions).bind(&names).bind(&keys).bind(&states);
        query.execute(connection).await.map_err(|error| refused(error.into(), &names))?;
    }
    Ok(())
}

/// States that Postgres refuses are the fault of their aggregators: no event may be set aside for it.
fn refused(error: StoreError, names: &[&str]) -> StoreError {
    if error.failure != Failure::Data {
        return error;
    }
    let names: BTreeSet<&str> = names.iter().copied().collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    StoreError::new(Failure::Setup, format!("the states of {names} can't be stored: {error}"))
}
