//! What is stored of sessions, page by page, beside what their stored events fold to: all of one moment.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};

use crate::{
    event::{EventTime, SessionId},
    fold::{Aggregators, Refold, SessionAggregator, SessionChange, SideAggregators, Status, Version},
};

use super::{
    Store, aggregators, deleted_sessions,
    error::StoreError,
    events::{self, StoredEvent, Unreadable},
    transaction::{Isolation, TransactionSpec},
};

/// A row is read as JSON, so that its columns have names.
pub(super) const SESSIONS: &str = "/* stored_sessions */
    SELECT s.session_id, s.version, s.status, to_jsonb(s), clock_timestamp()
    FROM sessions s
    WHERE s.session_id > $1 AND ($2::text[] IS NULL OR s.session_id = ANY($2))
        AND ($3::timestamptz IS NULL OR s.last_event_at >= $3) AND ($4::timestamptz IS NULL OR s.last_event_at < $4)
    ORDER BY s.session_id
    LIMIT $5";

/// Sessions of a range that have events or states, and no row.
pub(super) const WITHOUT_ROW: &str = "/* sessions_without_row */
    SELECT e.session_id
    FROM (
        SELECT session_id FROM prompts WHERE session_id > $1 AND session_id <= $2
        UNION SELECT session_id FROM tool_executions WHERE session_id > $1 AND session_id <= $2
        UNION SELECT session_id FROM lifecycle_events WHERE session_id > $1 AND session_id <= $2
        UNION SELECT session_id FROM aggregates WHERE session_id > $1 AND session_id <= $2
    ) AS e
    WHERE NOT EXISTS (SELECT FROM sessions s WHERE s.session_id = e.session_id)";

/// Which of these sessions have events or states.
pub(super) const ANY_EVENT: &str = "/* sessions_with_events */
    SELECT k.session_id
    FROM unnest($1::text[]) AS k(session_id)
    WHERE EXISTS (SELECT FROM prompts e WHERE e.session_id = k.session_id)
        OR EXISTS (SELECT FROM tool_executions e WHERE e.session_id = k.session_id)
        OR EXISTS (SELECT FROM lifecycle_events e WHERE e.session_id = k.session_id)
        OR EXISTS (SELECT FROM aggregates e WHERE e.session_id = k.session_id)";

pub(super) const AGGREGATES: &str = "/* aggregates_of_sessions */
    SELECT session_id, aggregator, key, state
    FROM aggregates
    WHERE session_id = ANY($1::text[]) AND aggregator = ANY($2::text[])";

/// A session may be long, and those that are selected far apart.
pub(super) const READ: TransactionSpec = TransactionSpec {
    name: "read_stored",
    isolation: Isolation::RepeatableRead,
    read_only: true,
    statement_timeout: Some(Duration::from_secs(600)),
};

/// How many sessions a page has.
const PAGE: i64 = 500;

/// Which sessions to look at.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// These, or all where it is empty.
    pub sessions: Vec<SessionId>,
    /// Those whose last event is not before.
    pub from: Option<EventTime>,
    /// Those whose last event is before.
    pub to: Option<EventTime>,
}

impl Selection {
    pub fn is_everything(&self) -> bool {
        self.sessions.is_empty() && self.from.is_none() && self.to.is_none()
    }
}

/// What is stored of a session beside its events.
#[derive(Clone, Debug)]
pub struct StoredSession {
    pub session_id: SessionId,
    pub version: Version,
    pub status: Status,
    /// The row, by column.
    pub row: Map<String, Value>,
    /// When it was read, by Postgres's clock: not before anything that it says.
    pub read_at: EventTime,
    /// The states of the side aggregators asked for, by name and key.
    pub sides: BTreeMap<(String, String), Value>,
}

impl StoredSession {
    /// Whether this aggregator may write the row.
    pub(crate) fn can_be_taken_over<A: SessionAggregator>(&self, aggregator: &A) -> bool {
        let folded_by = self.row.get("aggregator").and_then(Value::as_str);
        folded_by.is_some_and(|folded_by| aggregators::can_take_over(aggregator, folded_by))
    }
}

/// Some sessions, in the order of their ids.
#[derive(Debug)]
pub struct StoredPage<S> {
    pub sessions: Vec<StoredSession>,
    /// Sessions that have events or states, and no row.
    pub without_row: Vec<SessionId>,
    /// What the stored events come to, in the order of the ids. A session without events has none.
    pub folded: Vec<SessionChange<'static, S>>,
    /// Sessions that are in none of the others but `sessions`, since some of their events can't be read.
    pub unreadable: HashMap<SessionId, BTreeSet<Unreadable>>,
    /// Sessions that were deleted, and of which something is stored all the same.
    pub deleted: HashSet<SessionId>,
    /// Sessions whose order of arrival isn't known, where the aggregator asks for it.
    pub unordered: HashSet<SessionId>,
    /// Stored events in all.
    pub events: u64,
    /// Where the next page begins; none after the last.
    pub next: Option<PageStart>,
}

/// Where a page begins: behind this session.
#[derive(Clone, Debug, Default)]
pub struct PageStart(String);

impl Store {
    /// A page of what is stored, and of what it should be.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn stored_page<A: SessionAggregator>(
        &self,
        aggregators: &Aggregators<A>,
        selection: &Selection,
        start: &PageStart,
    ) -> Result<StoredPage<A::State>, StoreError> {
        let body = async |connection: &mut PgConnection| read_page(connection, aggregators, selection, start).await;
        self.transactions.run(&READ, body).await
    }
}

async fn read_page<A: SessionAggregator>(
    connection: &mut PgConnection,
    aggregators: &Aggregators<A>,
    selection: &Selection,
    PageStart(after): &PageStart,
) -> Result<StoredPage<A::State>, StoreError> {
    let mut sessions = read_sessions(connection, selection, after).await?;
    let is_last = i64::try_from(sessions.len()).is_ok_and(|count| count < PAGE);
    let next = sessions.last().filter(|_| !is_last).map(|session| PageStart(session.session_id.as_str().to_owned()));
    let without_row = without_row(connection, selection, after, next.as_ref(), &sessions).await?;
    read_sides(connection, &aggregators.sides, &mut sessions).await?;

    let rows = sessions.iter().map(|session| (session.session_id.clone(), Some((session.version, session.status))));
    let all = rows.chain(without_row.iter().map(|session_id| (session_id.clone(), None)));
    let ids: Vec<&str> =
        sessions.iter().map(|session| &session.session_id).chain(&without_row).map(SessionId::as_str).collect();
    let deleted = deleted_sessions::among(connection, &ids).await?;
    let mut fold = StoredFold::new(aggregators, all);
    let mut unreadable: HashMap<SessionId, BTreeSet<Unreadable>> = HashMap::new();
    events::for_each_readable(connection, &ids, |session_id, stored| match stored {
        Ok(stored) => fold.take(stored),
        Err(error) => {
            if let Ok(session_id) = SessionId::parse(session_id) {
                unreadable.entry(session_id).or_default().insert(error);
            }
        }
    })
    .await?;
    let (mut folded, unordered, events) = fold.finish();
    folded.retain(|change| !unreadable.contains_key(&change.session_id));
    Ok(StoredPage { sessions, without_row, folded, unreadable, deleted, unordered, events, next })
}

/// A fold of stored events. Where their order of arrival matters they are gathered first; where not, a long session
/// needs no room.
struct StoredFold<'a, A: SessionAggregator> {
    refold: Refold<'static, 'a, A>,
    in_order: bool,
    gathered: Vec<StoredEvent>,
    unordered: HashSet<SessionId>,
    events: u64,
}

impl<'a, A: SessionAggregator> StoredFold<'a, A> {
    fn new(
        aggregators: &'a Aggregators<A>,
        sessions: impl Iterator<Item = (SessionId, Option<(Version, Status)>)>,
    ) -> Self {
        let in_order = aggregators.session.depends_on_order();
        let refold = Refold::of_stored(aggregators, sessions);
        Self { refold, in_order, gathered: Vec::new(), unordered: HashSet::new(), events: 0 }
    }

    fn take(&mut self, stored: StoredEvent) {
        self.events += 1;
        if !self.in_order {
            return self.refold.take_stored(&stored.event);
        }
        if stored.arrival.is_none() {
            self.unordered.insert(stored.event.session_id.clone());
        }
        self.gathered.push(stored);
    }

    fn finish(mut self) -> (Vec<SessionChange<'static, A::State>>, HashSet<SessionId>, u64) {
        self.gathered.sort_by_key(|stored| stored.arrival);
        for stored in &self.gathered {
            self.refold.take_stored(&stored.event);
        }
        (self.refold.finish(), self.unordered, self.events)
    }
}

async fn read_sessions(
    connection: &mut PgConnection,
    selection: &Selection,
    after: &str,
) -> Result<Vec<StoredSession>, StoreError> {
    let wanted: Vec<&str> = selection.sessions.iter().map(SessionId::as_str).collect();
    let query = sqlx::query_as::<_, (String, i64, String, Json<Map<String, Value>>, DateTime<Utc>)>(SESSIONS)
        .bind(after)
        .bind((!wanted.is_empty()).then_some(&wanted))
        .bind(selection.from.map(EventTime::as_utc))
        .bind(selection.to.map(EventTime::as_utc))
        .bind(PAGE);
    let session = |(session_id, version, status, Json(row), read_at): (String, i64, String, Json<_>, _)| {
        Ok(StoredSession {
            session_id: parse_id(&session_id)?,
            version: Version::from_stored(version),
            status: Status::from_name(&status).ok_or_else(|| StoreError::corrupt("sessions", "status"))?,
            row,
            read_at: EventTime::from_utc(read_at).map_err(|_| StoreError::corrupt("sessions", "clock_timestamp"))?,
            sides: BTreeMap::new(),
        })
    };
    query.fetch_all(connection).await?.into_iter().map(session).collect()
}

/// By time only sessions with a row can be selected.
async fn without_row(
    connection: &mut PgConnection,
    selection: &Selection,
    after: &str,
    next: Option<&PageStart>,
    sessions: &[StoredSession],
) -> Result<Vec<SessionId>, StoreError> {
    let query = if selection.is_everything() {
        // Behind every id, which has 255 characters at most.
        let end = next.map_or_else(|| "\u{10FFFF}".repeat(256), |PageStart(last)| last.clone());
        sqlx::query_scalar(WITHOUT_ROW).bind(after.to_owned()).bind(end)
    } else if !selection.sessions.is_empty() && selection.from.is_none() && selection.to.is_none() {
        let is_within = |id: &str| id > after && next.is_none_or(|PageStart(last)| id <= last.as_str());
        let of_page = selection.sessions.iter().filter(|wanted| is_within(wanted.as_str()));
        let missing = of_page.filter(|wanted| !sessions.iter().any(|session| session.session_id == **wanted));
        sqlx::query_scalar(ANY_EVENT).bind(missing.map(|wanted| wanted.as_str().to_owned()).collect::<Vec<_>>())
    } else {
        return Ok(Vec::new());
    };
    query.fetch_all(connection).await?.iter().map(|session_id: &String| parse_id(session_id)).collect()
}

async fn read_sides(
    connection: &mut PgConnection,
    sides: &SideAggregators,
    sessions: &mut [StoredSession],
) -> Result<(), StoreError> {
    if sides.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = sides.ids().map(|id| id.name()).collect();
    let ids: Vec<&str> = sessions.iter().map(|session| session.session_id.as_str()).collect();
    let rows = sqlx::query_as::<_, (String, String, String, Json<Value>)>(AGGREGATES).bind(&ids).bind(&names);
    for (session_id, aggregator, key, Json(state)) in rows.fetch_all(connection).await? {
        let found = sessions.binary_search_by(|session| session.session_id.as_str().cmp(&session_id));
        if let Ok(index) = found {
            sessions[index].sides.insert((aggregator, key), state);
        }
    }
    Ok(())
}

fn parse_id(text: &str) -> Result<SessionId, StoreError> {
    SessionId::parse(text).map_err(|_| StoreError::corrupt("sessions", "session_id"))
}
