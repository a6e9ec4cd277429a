//! Sessions whose row changed since somebody looked.
//!
//! `updated_at` is when a row's transaction began. One that takes longer than others becomes visible behind rows that are
//! later than its own, so a position by that time would pass it over. What a snapshot can't see yet has a transaction id
//! that is not below the snapshot's `xmin`: so a round of pages tells the `xmin` with which the next round begins. A row is
//! told again where it was visible already; none is left out.

use std::{fmt, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    event::{EventTime, SessionId},
    store::{Store, error::StoreError},
};

use super::{VIEW, cursor, cursor::InvalidCursor, list::PageSize, range::free_plan, session::SessionView};

/// No index has `updated_at`: with one, every update of a row would write to all of the table's indexes. The row's own
/// transaction id has 32 bits; the one that it stands for is the latest before the snapshot's end.
const CHANGED: &str = concat!(
    "/* changed_sessions */ SELECT ",
    session_columns!(),
    " FROM sessions
    WHERE updated_at >= $1
        AND ($2::timestamptz IS NULL OR last_event_hour >= date_bin('1 hour', $2, timestamptz '2000-01-01 00:00:00+00')
            AND last_event_at >= $2)
        AND ($3::bigint IS NULL OR $4::bigint - ($4::bigint - xmin::text::bigint + 4294967296) % 4294967296 >= $3)
        AND ($5::timestamptz IS NULL OR (updated_at, session_id) > ($5, $6::text))
    ORDER BY updated_at, session_id
    LIMIT $7"
);

const SNAPSHOT: &str = "/* snapshot */
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest, now() AS taken_at, id AS generation
    FROM generation";

pub(super) const STATEMENTS: [&str; 2] = [CHANGED, SNAPSHOT];

/// No transaction that changes sessions takes longer, by far.
const LONGEST_TRANSACTION: TimeDelta = TimeDelta::days(1);

/// Where to look for changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangesSince {
    /// Rows whose transaction began at this instant or later.
    Instant(EventTime),
    /// Where an earlier answer ended.
    Cursor(ChangeCursor),
}

/// Where an answer ended, in a text that is good for one set of tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeCursor {
    generation: Uuid,
    /// Of the round: the rows from this transaction on, where an earlier round told those before.
    from: Option<i64>,
    /// Of the round: the rows from this time on, in microseconds since 1970.
    floor: i64,
    /// With which the next round begins: a transaction, and a time.
    next: (i64, i64),
    /// The last row that was told of the round; none where the round was told to its end.
    position: Option<(i64, String)>,
}

/// Tells these positions from those of other lists.
const NAME: &str = "changes";

impl fmt::Display for ChangeCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&cursor::encode(NAME, self))
    }
}

impl FromStr for ChangeCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let cursor: Self = cursor::decode(NAME, text)?;
        let times = [Some(cursor.floor), Some(cursor.next.1), cursor.position.as_ref().map(|(at, _)| *at)];
        let good = times.into_iter().flatten().all(|micros| instant(micros).is_some())
            && cursor.position.as_ref().is_none_or(|(_, id)| SessionId::parse(id).is_ok())
            && cursor.from.is_none_or(|from| (0..=cursor.next.0).contains(&from));
        if good { Ok(cursor) } else { Err(InvalidCursor) }
    }
}

fn instant(micros: i64) -> Option<EventTime> {
    DateTime::from_timestamp_micros(micros).and_then(|instant| EventTime::from_utc(instant).ok())
}

/// Sessions that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    pub sessions: Vec<SessionView>,
    /// Where to go on: there may be more now, or there will be.
    pub next: ChangeCursor,
    /// Whether there are more now.
    pub more: bool,
}

/// What was asked with a position in tables that are no longer these: everything may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the position is one in other tables than these, which were restored or replaced since: begin with an instant")]
pub struct OtherTables;

/// The tables at one moment.
struct Snapshot {
    oldest: i64,
    newest: i64,
    taken_at: DateTime<Utc>,
    generation: Uuid,
}

/// Rows to tell, between two rounds.
struct Round {
    from: Option<i64>,
    floor: i64,
    next: (i64, i64),
    position: Option<(i64, String)>,
}

impl Round {
    /// The round that goes on, or begins.
    fn of(since: &ChangesSince, snapshot: &Snapshot) -> Result<Self, OtherTables> {
        let earliest = (snapshot.taken_at - LONGEST_TRANSACTION).timestamp_micros();
        let next = (snapshot.oldest, earliest);
        let cursor = match since {
            ChangesSince::Instant(instant) => {
                return Ok(Self { from: None, floor: instant.micros_since_epoch(), next, position: None });
            }
            ChangesSince::Cursor(cursor) => cursor,
        };
        if cursor.generation != snapshot.generation || cursor.next.0 > snapshot.newest {
            return Err(OtherTables);
        }
        let ChangeCursor { from, floor, next: promised, position, .. } = cursor.clone();
        Ok(match position {
            Some(position) => Self { from, floor, next: promised, position: Some(position) },
            None => Self { from: Some(promised.0), floor: promised.1, next, position: None },
        })
    }
}

impl Store {
    /// Sessions whose row changed, in the order of their transactions' beginnings. Each change is told at least once; a
    /// session's `version` tells repetitions.
    ///
    /// With `last_event_from`, only those whose last event is not before: they are found by an index, and all others need
    /// the whole table read.
    ///
    /// # Errors
    /// If Postgres can't be asked, or takes too long.
    pub async fn changed_sessions(
        &self,
        since: &ChangesSince,
        last_event_from: Option<EventTime>,
        size: PageSize,
    ) -> Result<Result<Changes, OtherTables>, StoreError> {
        let body = async |connection: &mut PgConnection| {
            free_plan(connection).await?;
            let snapshot = snapshot(&sqlx::query(SNAPSHOT).fetch_one(&mut *connection).await?)?;
            let round = match Round::of(since, &snapshot) {
                Ok(round) => round,
                Err(other) => return Ok(Err(other)),
            };
            let sessions = read(connection, &round, snapshot.newest, last_event_from, size).await?;
            Ok::<_, StoreError>(Ok((snapshot.generation, round, sessions)))
        };
        let told = self.transactions.run(&VIEW, body).await?;
        Ok(told.map(|(generation, round, mut sessions)| {
            let more = sessions.len() > size.get();
            sessions.truncate(size.get());
            let Round { from, floor, next, .. } = round;
            let last = sessions.last().filter(|_| more);
            let position = last.map(|last| (last.updated_at.micros_since_epoch(), last.session_id.as_str().to_owned()));
            Changes { next: ChangeCursor { generation, from, floor, next, position }, sessions, more }
        }))
    }
}

fn snapshot(row: &PgRow) -> Result<Snapshot, StoreError> {
    Ok(Snapshot {
        oldest: row.try_get("oldest")?,
        newest: row.try_get("newest")?,
        taken_at: row.try_get("taken_at")?,
        generation: row.try_get("generation")?,
    })
}

async fn read(
    connection: &mut PgConnection,
    round: &Round,
    newest: i64,
    last_event_from: Option<EventTime>,
    size: PageSize,
) -> Result<Vec<SessionView>, StoreError> {
    let position = round.position.as_ref();
    let query = sqlx::query(CHANGED)
        .bind(DateTime::from_timestamp_micros(round.floor))
        .bind(last_event_from.map(EventTime::as_utc))
        .bind(round.from)
        .bind(newest)
        .bind(position.and_then(|(at, _)| DateTime::from_timestamp_micros(*at)))
        .bind(position.map(|(_, id)| id.as_str()))
        .bind(size.and_one_more());
    query.fetch_all(connection).await?.iter().map(SessionView::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(position: Option<(i64, String)>) -> ChangeCursor {
        ChangeCursor { generation: Uuid::from_u128(1), from: Some(5), floor: 1_000, next: (7, 2_000), position }
    }

    fn taken(generation: u128) -> Snapshot {
        let taken_at = DateTime::from_timestamp(1_000_000, 0).unwrap();
        Snapshot { oldest: 40, newest: 42, taken_at, generation: Uuid::from_u128(generation) }
    }

    #[test]
    fn a_position_is_read_back_exactly_and_nothing_else_is_one() {
        for position in [None, Some((3, "s\u{1f600}".to_owned()))] {
            let cursor = cursor(position);
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        let bad = [
            cursor(Some((i64::MAX, "s".to_owned()))),
            cursor(Some((1, String::new()))),
            ChangeCursor { from: Some(8), ..cursor(None) },
            ChangeCursor { floor: i64::MIN, ..cursor(None) },
        ];
        for cursor in bad {
            assert_eq!(cursor.to_string().parse::<ChangeCursor>(), Err(InvalidCursor), "{cursor:?}");
        }
        assert_eq!("e30".parse::<ChangeCursor>(), Err(InvalidCursor));
    }

    #[test]
    fn a_round_is_told_to_its_end_before_the_next_begins_where_it_promised() {
        let on = Round::of(&ChangesSince::Cursor(cursor(Some((3, "s".to_owned())))), &taken(1)).unwrap();
        assert_eq!((on.from, on.floor, on.next, on.position), (Some(5), 1_000, (7, 2_000), Some((3, "s".to_owned()))));
        let new = Round::of(&ChangesSince::Cursor(cursor(None)), &taken(1)).unwrap();
        assert_eq!((new.from, new.floor, new.position), (Some(7), 2_000, None));
        assert_eq!(new.next, (40, (1_000_000 - 86_400) * 1_000_000));
    }

    #[test]
    fn a_position_in_other_tables_is_refused() {
        assert!(Round::of(&ChangesSince::Cursor(cursor(None)), &taken(2)).is_err());
        let of_a_later_copy = ChangeCursor { next: (43, 2_000), ..cursor(None) };
        assert!(Round::of(&ChangesSince::Cursor(of_a_later_copy), &taken(1)).is_err());
    }
}
