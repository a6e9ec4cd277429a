//! What a fold needs to know of the store, read in one consistent snapshot.

use std::time::Duration;

use foldhash::HashSet;
use sqlx::{PgConnection, types::Json};

use crate::{
    event::{Event, EventSetDigest, SessionId},
    fold::{
        Aggregators, BatchFold, Folded, FoldedState, LoadedSession, SessionAggregator, Standing, Status, Version,
        Wanted,
    },
};

use super::{
    Store, aggregates,
    error::StoreError,
    events::{self, StoredEvent},
    transaction::{Isolation, TransactionSpec},
};

/// The state is read only where it is this aggregator's. A session that was deleted has a row without a version.
pub(super) const SESSIONS: &str = "/* read_sessions */
    SELECT s.session_id, s.version, s.status, CASE WHEN s.aggregator = $2 THEN s.state END, s.event_digest, s.sides
    FROM unnest($1::text[]) AS k(session_id)
    JOIN sessions s ON s.session_id = k.session_id
    UNION ALL
    SELECT d.session_id, NULL, NULL, NULL, NULL, NULL
    FROM unnest($1::text[]) AS k(session_id)
    JOIN deleted_sessions d ON d.session_id = k.session_id";

/// Repeatable read, so that versions, states and events are of one moment. Whether that moment still lasts is checked
/// by the versions when the result is committed.
const READ: TransactionSpec = TransactionSpec {
    name: "read_standing",
    isolation: Isolation::RepeatableRead,
    read_only: true,
    statement_timeout: None,
};

/// A session may be long.
const REFOLD: TransactionSpec =
    TransactionSpec { name: "read_for_refold", statement_timeout: Some(Duration::from_secs(600)), ..READ };

impl Store {
    /// What is wanted of sessions, of the stored events with the same keys, and of the side states of these events.
    ///
    /// # Errors
    /// If Postgres can't be asked, or the tables are another aggregator's and this one can't fold them again.
    pub async fn standing<A: SessionAggregator>(
        &self,
        aggregators: &Aggregators<A>,
        wanted: &Wanted<'_>,
    ) -> Result<Standing<A::State>, StoreError> {
        if wanted.is_nothing(&aggregators.sides) {
            return Ok(Standing::default());
        }
        let body = async |connection: &mut PgConnection| read(connection, aggregators, wanted).await;
        self.transactions.run(&READ, body).await
    }

    /// Ends a fold, reading the stored events of the sessions that it has to fold again.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn finish_fold<'e, A: SessionAggregator>(
        &self,
        fold: BatchFold<'e, '_, A>,
    ) -> Result<Folded<'e, A::State>, StoreError> {
        let (folded, refold) = fold.begin_refold();
        let sessions: Vec<&str> = refold.sessions().map(SessionId::as_str).collect();
        if sessions.is_empty() {
            return Ok(folded);
        }
        tracing::debug!(sessions = sessions.len(), "folding sessions again from their stored events");
        let body = async |connection: &mut PgConnection| {
            // Tried again, it begins again.
            let mut refold = refold.clone();
            events::for_each_of_sessions(connection, &sessions, |stored| refold.take_stored(&stored.event)).await?;
            Ok::<_, StoreError>(refold.finish())
        };
        Ok(folded.with(self.transactions.run(&REFOLD, body).await?))
    }
}

/// A row of [`SESSIONS`].
type SessionRow<S> = (String, Option<i64>, Option<String>, Option<Json<S>>, Option<Vec<u8>>, Option<Vec<String>>);

async fn read<A: SessionAggregator>(
    connection: &mut PgConnection,
    aggregators: &Aggregators<A>,
    wanted: &Wanted<'_>,
) -> Result<Standing<A::State>, StoreError> {
    let mut standing = Standing::default();
    read_sessions(connection, aggregators, &wanted.of_unknown_sessions, &mut standing).await?;
    // An event can be stored only where its session is.
    let is_known = |event: &&&Event| standing.sessions.contains_key(&event.session_id);
    let found: Vec<&Event> = wanted.of_unknown_sessions.iter().filter(is_known).copied().collect();
    // Of each version of an event, since they may belong to different states.
    let of_stored_sessions: Vec<&Event> = found.iter().chain(&wanted.of_known_sessions).copied().collect();
    aggregates::read(connection, &aggregators.sides, &of_stored_sessions, &mut standing.side_states).await?;
    // Each key is asked for once, however often it came.
    let mut asked: Vec<&Event> = found.into_iter().chain(wanted.perhaps_stored.iter().copied()).collect();
    asked.sort_unstable_by(|a, b| (&a.session_id, a.key()).cmp(&(&b.session_id, b.key())));
    asked.dedup_by(|a, b| a.session_id == b.session_id && a.key() == b.key());
    events::find(connection, &asked, |StoredEvent { event, .. }| {
        standing.events.entry(event.session_id.clone()).or_default().insert(event.key(), event);
    })
    .await?;
    Ok(standing)
}

async fn read_sessions<A: SessionAggregator>(
    connection: &mut PgConnection,
    aggregators: &Aggregators<A>,
    events: &[&Event],
    standing: &mut Standing<A::State>,
) -> Result<(), StoreError> {
    // There are many events of each session, and few texts are faster sorted.
    let ids: HashSet<&SessionId> = events.iter().map(|event| &event.session_id).collect();
    let mut ids: Vec<&str> = ids.into_iter().map(SessionId::as_str).collect();
    ids.sort_unstable();
    if ids.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query_as::<_, SessionRow<A::State>>(SESSIONS).bind(&ids);
    for row in rows.bind(aggregators.session.id().to_string()).fetch_all(connection).await? {
        let (session_id, session) = loaded(row)?;
        let Some(session) = session else {
            standing.deleted.insert(session_id);
            continue;
        };
        if session.folded.is_none() && aggregators.session.depends_on_order() {
            return Err(StoreError::other_aggregator(aggregators.session.id()));
        }
        standing.sessions.insert(session_id, session);
    }
    Ok(())
}

/// A session as it was read; none where it was deleted.
fn loaded<S>(row: SessionRow<S>) -> Result<(SessionId, Option<LoadedSession<S>>), StoreError> {
    let (session_id, version, status, state, digest, sides) = row;
    let session_id = SessionId::parse(&session_id).map_err(|_| StoreError::corrupt("sessions", "session_id"))?;
    let (Some(version), Some(status)) = (version, status) else { return Ok((session_id, None)) };
    let status = Status::from_name(&status).ok_or_else(|| StoreError::corrupt("sessions", "status"))?;
    let digest = digest.and_then(|bytes| EventSetDigest::from_bytes(&bytes));
    let folded = state.zip(digest).map(|(Json(state), digest)| FoldedState { state, digest });
    let sides = sides.unwrap_or_default();
    Ok((session_id, Some(LoadedSession { version: Version::from_stored(version), status, folded, sides })))
}
