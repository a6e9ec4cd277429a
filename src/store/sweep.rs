//! The sweep: sessions that fell silent are timed out.
//!
//! It asks about the latest instant at which all records of all partitions were known to be in the tables: the least
//! `caught_up_at` of the checkpoints. A session can't be silent at that instant only because its events wait in a log.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, types::Json};

use crate::{
    event::{EventSetDigest, EventTime, SessionId},
    fold::{AggregatorId, FoldedSession, FoldedState, SessionAggregator, SessionChange, Snapshot, Status, Version},
    record::{NextOffset, TopicPartition},
};

use super::{
    Store,
    error::StoreError,
    generations,
    sessions::state_json,
    transaction::{Isolation, TransactionSpec},
    transitions::{self, Cause, Publication},
};

/// One sweep at a time for all instances that share these tables.
pub(super) const LOCK: &str = "/* lock_sweep */
    SELECT pg_try_advisory_xact_lock(hashtextextended('sessionfold sweep of ' || current_schema(), 0))";

pub(super) const MARK: &str = "/* mark_caught_up */
    UPDATE checkpoints c SET caught_up_at = greatest(c.caught_up_at, now() - make_interval(secs => $5))
    FROM unnest($2::text[], $3::int[], $4::bigint[]) AS e(topic, partition, log_end)
    WHERE c.group_id = $1 AND c.topic = e.topic AND c.partition = e.partition AND c.next_offset >= e.log_end";

/// None while a partition of these topics has a backlog, or nobody reads it; or while a topic has no checkpoint yet.
pub(super) const WATERMARK: &str = "/* sweep_watermark */
    SELECT min(caught_up_at) FROM checkpoints WHERE group_id = $1 AND topic = ANY($2::text[])
    HAVING count(*) = count(caught_up_at) AND count(DISTINCT topic) = cardinality($2::text[])
        AND min(caught_up_at) >= now() - make_interval(secs => $3)";

/// Rows that somebody else writes just now are left to the next sweep: they aren't silent.
pub(super) const SILENT: &str = "/* silent_sessions */
    SELECT session_id, version, status, state FROM sessions
    WHERE status IN ('active', 'orphan') AND last_event_hour <= $1 AND last_event_at <= $1 AND aggregator = $2
    ORDER BY last_event_hour LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED";

pub(super) const UPDATE: &str = "/* time_out_sessions */
    UPDATE sessions s SET status = n.status, ended_at = n.ended_at, duration_seconds = n.duration_seconds,
        end_reason = n.end_reason, end_provenance = n.end_provenance, state = n.state, version = s.version + 1,
        updated_at = now()
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::double precision[], $5::text[], $6::text[],
        $7::text[]::json[])
        AS n(session_id, status, ended_at, duration_seconds, end_reason, end_provenance, state)
    WHERE s.session_id = n.session_id";

/// The ends of logs, as they were seen some time ago.
#[derive(Clone, Debug)]
pub struct SeenLogEnds {
    pub age: Duration,
    pub ends: Vec<(TopicPartition, NextOffset)>,
}

/// The instant that a sweep asks about.
#[derive(Clone, Debug)]
pub enum SweepInstant {
    /// The latest at which a group was caught up.
    CaughtUp {
        group_id: String,
        /// Its partitions must all be caught up.
        topics: Vec<String>,
        /// A partition that was not caught up within this time has a backlog.
        within: Duration,
    },
    /// One that is known otherwise to be no later than that.
    At(EventTime),
}

/// What a sweep looks at.
#[derive(Clone, Debug)]
pub struct SweepScope {
    pub instant: SweepInstant,
    /// How many sessions are timed out in one transaction.
    pub max_sessions: u32,
    pub publication: Publication,
}

/// What a sweep came to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Another instance sweeps just now.
    Busy,
    /// There is a backlog.
    HeldOff,
    /// Silent sessions were looked at.
    Swept {
        timed_out: usize,
        /// Whether there may be more of them.
        more: bool,
    },
}

const SPEC: TransactionSpec =
    TransactionSpec { name: "sweep", isolation: Isolation::ReadCommitted, read_only: false, statement_timeout: None };

const MARK_SPEC: TransactionSpec = TransactionSpec { name: "mark_caught_up", ..SPEC };

impl Store {
    /// Notes which partitions were caught up when these ends were seen: those whose checkpoints have reached them.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn mark_caught_up(&self, group_id: &str, seen: &SeenLogEnds) -> Result<(), StoreError> {
        let mut ends = seen.ends.clone();
        ends.sort_unstable();
        let topics: Vec<&str> = ends.iter().map(|(partition, _)| &*partition.topic).collect();
        let numbers: Vec<i32> = ends.iter().map(|(partition, _)| partition.partition).collect();
        let offsets: Vec<i64> = ends.iter().map(|(_, end)| end.get()).collect();
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query(MARK).bind(group_id).bind(&topics).bind(&numbers).bind(&offsets);
            query.bind(seen.age.as_secs_f64()).execute(connection).await?;
            Ok::<_, StoreError>(())
        };
        self.transactions.run(&MARK_SPEC, body).await
    }

    /// Times out sessions that were silent for the aggregator's inactivity timeout, up to a limit, and brings the
    /// status of others that it meets up to date with the settings.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn sweep<A: SessionAggregator>(&self, aggregator: &A, scope: &SweepScope) -> Result<Sweep, StoreError> {
        self.transactions
            .run(&SPEC, async |connection| {
                generations::check(connection, self.generation).await?;
                sweep(connection, aggregator, scope).await
            })
            .await
    }
}

async fn sweep<A: SessionAggregator>(
    connection: &mut PgConnection,
    aggregator: &A,
    scope: &SweepScope,
) -> Result<Sweep, StoreError> {
    let locked: bool = sqlx::query_scalar(LOCK).fetch_one(&mut *connection).await?;
    if !locked {
        return Ok(Sweep::Busy);
    }
    let Some(as_of) = asked_about(connection, &scope.instant).await? else { return Ok(Sweep::HeldOff) };
    let silent = silent_sessions(connection, aggregator, as_of, scope.max_sessions).await?;
    let is_full = silent.len() >= scope.max_sessions as usize;
    let (timed_out, otherwise): (Vec<_>, Vec<_>) = silent
        .into_iter()
        .filter(|change| change.read.map(|(_, status)| status) != Some(change.folded.snapshot().status))
        .partition(|change| change.folded.snapshot().status == Status::TimedOut);
    let more = is_full && !(timed_out.is_empty() && otherwise.is_empty());
    let count = timed_out.len();
    write(connection, aggregator.id(), Cause::Timeout, scope.publication, &timed_out).await?;
    // What a changed setting makes of them. Left as they are, they would be found first in every sweep.
    write(connection, aggregator.id(), Cause::Repair, scope.publication, &otherwise).await?;
    Ok(Sweep::Swept { timed_out: count, more })
}

/// None while there is a backlog.
async fn asked_about(connection: &mut PgConnection, instant: &SweepInstant) -> Result<Option<EventTime>, StoreError> {
    let (group_id, topics, within) = match instant {
        SweepInstant::At(instant) => return Ok(Some(*instant)),
        SweepInstant::CaughtUp { group_id, topics, within } => (group_id, topics, within),
    };
    let query = sqlx::query_scalar(WATERMARK).bind(group_id).bind(topics).bind(within.as_secs_f64());
    let watermark: Option<Option<DateTime<Utc>>> = query.fetch_optional(connection).await?;
    Ok(watermark.flatten().and_then(|instant| EventTime::from_utc(instant).ok()))
}

async fn write<S>(
    connection: &mut PgConnection,
    aggregator: AggregatorId,
    cause: Cause,
    publication: Publication,
    changes: &[SessionChange<'_, S>],
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    update(connection, aggregator, changes).await?;
    transitions::insert(connection, cause, publication, changes).await
}

type SilentRow<S> = (String, i64, String, Json<S>);

async fn silent_sessions<A: SessionAggregator>(
    connection: &mut PgConnection,
    aggregator: &A,
    as_of: EventTime,
    limit: u32,
) -> Result<Vec<SessionChange<'static, A::State>>, StoreError> {
    let timeout = TimeDelta::from_std(aggregator.inactivity_timeout()).unwrap_or(TimeDelta::MAX);
    // A timeout of more years than there were ends no session.
    let Some(latest) = as_of.as_utc().checked_sub_signed(timeout) else { return Ok(Vec::new()) };
    let rows = sqlx::query_as::<_, SilentRow<A::State>>(SILENT)
        .bind(latest)
        .bind(aggregator.id().to_string())
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(|row| silent_session(aggregator, row, as_of)).collect()
}

fn silent_session<A: SessionAggregator>(
    aggregator: &A,
    row: SilentRow<A::State>,
    as_of: EventTime,
) -> Result<SessionChange<'static, A::State>, StoreError> {
    let (session_id, version, status, Json(state)) = row;
    let corrupt = |column| StoreError::corrupt("sessions", column);
    let status = Status::from_name(&status).ok_or_else(|| corrupt("status"))?;
    // A sweep adds no event, and leaves the stored digest as it is.
    let folded = FoldedState { state, digest: EventSetDigest::default() };
    Ok(SessionChange {
        session_id: SessionId::parse(&session_id).map_err(|_| corrupt("session_id"))?,
        read: Some((Version::from_stored(version), status)),
        read_digest: None,
        folded: FoldedSession::new(aggregator, folded, Some(as_of)),
        added: Vec::new(),
        replaced: Vec::new(),
        sides: Vec::new(),
    })
}

async fn update<S>(
    connection: &mut PgConnection,
    aggregator: AggregatorId,
    changes: &[SessionChange<'_, S>],
) -> Result<(), StoreError> {
    fn column<'a, S, T>(changes: &'a [SessionChange<'_, S>], value: impl Fn(&'a Snapshot) -> T) -> Vec<T> {
        changes.iter().map(|change| value(change.folded.snapshot())).collect()
    }
    let states: Result<Vec<&str>, StoreError> = changes.iter().map(|change| state_json(aggregator, change)).collect();
    let query = sqlx::query(UPDATE)
        .bind(changes.iter().map(|change| change.session_id.as_str()).collect::<Vec<_>>())
        .bind(column(changes, |snapshot| snapshot.status.as_str()))
        .bind(column(changes, |snapshot| snapshot.ended_at.map(EventTime::as_utc)))
        .bind(column(changes, |snapshot| snapshot.duration_seconds))
        .bind(column(changes, |snapshot| snapshot.end_cause.map(|cause| cause.reason())))
        .bind(column(changes, |snapshot| snapshot.end_cause.map(|cause| cause.provenance().as_str())))
        .bind(states?);
    query.execute(connection).await?;
    Ok(())
}
