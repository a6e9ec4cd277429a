//! Sessions page by page, in an order of the reader's choice.
//!
//! By their last event, the order that is asked for most, sessions are found by the index of the hours, and only those of
//! an hour are sorted. Any other list reads the whole table, or what the filter leaves of it: an index for each order would
//! have to be written with every batch. A page is found by the position of the one before, so pages don't overlap or leave
//! out sessions that stand still; a session that changes between two pages may move from one to the other.

use std::{fmt, str::FromStr};

use sqlx::{Executor, PgConnection};

use crate::{
    event::{EventTime, SessionId, wire_names},
    store::{Store, error::StoreError},
};

use super::{VIEW, cursor, cursor::InvalidCursor, filter::SessionFilter, session::SessionView};

/// Sessions behind a position, which `$8` and `$9` say, in an order that ends with the session's id.
macro_rules! page {
    ($name:literal, $behind:expr, $order:expr) => {
        concat!(
            "/* list_sessions_by_",
            $name,
            " */ SELECT ",
            session_columns!(),
            " FROM sessions WHERE ",
            session_filter!(),
            " AND ",
            $behind,
            "
            ORDER BY ",
            $order,
            ", session_id LIMIT $10"
        )
    };
}

/// `$8` is the position's value, perhaps null, and `$9` its session. Sessions without a value come last in both
/// directions.
macro_rules! list {
    ($name:literal, $column:literal, $type:literal, $direction:literal, $behind:literal) => {
        page!(
            $name,
            concat!(
                "($9::text IS NULL OR CASE WHEN $8::",
                $type,
                " IS NULL THEN ",
                $column,
                " IS NULL AND session_id > $9
                ELSE ",
                $column,
                " ",
                $behind,
                " $8 OR ",
                $column,
                " = $8 AND session_id > $9 OR ",
                $column,
                " IS NULL END)"
            ),
            concat!($column, " ", $direction, " NULLS LAST")
        )
    };
}

/// The same by the last event, hour by hour; each session has one.
macro_rules! list_by_last_event {
    ($name:literal, $direction:literal, $behind:literal, $start:literal) => {
        page!(
            $name,
            concat!(
                "last_event_hour ",
                $behind,
                "= coalesce(date_bin('1 hour', $8::timestamptz, timestamptz '2000-01-01 00:00:00+00'), '",
                $start,
                "')
            AND ($9::text IS NULL OR last_event_at ",
                $behind,
                " $8 OR last_event_at = $8 AND session_id > $9)"
            ),
            concat!("last_event_hour ", $direction, ", last_event_at ", $direction)
        )
    };
}

/// By [`SessionSort`], ascending and descending.
const LISTS: [[&str; 2]; 5] = [
    [
        list_by_last_event!("last_event", "ASC", ">", "-infinity"),
        list_by_last_event!("last_event_descending", "DESC", "<", "infinity"),
    ],
    [
        list!("first_event", "first_event_at", "timestamptz", "ASC", ">"),
        list!("first_event_descending", "first_event_at", "timestamptz", "DESC", "<"),
    ],
    [
        list!("start", "started_at", "timestamptz", "ASC", ">"),
        list!("start_descending", "started_at", "timestamptz", "DESC", "<"),
    ],
    [
        list!("events", "event_count", "bigint", "ASC", ">"),
        list!("events_descending", "event_count", "bigint", "DESC", "<"),
    ],
    [
        list!("duration", "duration_seconds", "double precision", "ASC", ">"),
        list!("duration_descending", "duration_seconds", "double precision", "DESC", "<"),
    ],
];

/// The connections are set up for the hot path, which never scans a table. A reader takes one processor at most from it.
const ALLOW_SCAN: &str =
    "/* allow_scan */ SET LOCAL enable_seqscan = on; SET LOCAL max_parallel_workers_per_gather = 0";

pub(super) const STATEMENTS: [&str; 10] = {
    let [[a, b], [c, d], [e, f], [g, h], [i, j]] = LISTS;
    [a, b, c, d, e, f, g, h, i, j]
};

wire_names! {
    /// What sessions are sorted by. Those of the same value are sorted by their ids.
    SessionSort {
        LastEvent = "last-event", FirstEvent = "first-event", Start = "start", Events = "events", Duration = "duration",
    }
}

wire_names! {
    Direction { Ascending = "ascending", Descending = "descending" }
}

/// An order of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOrder {
    pub by: SessionSort,
    pub direction: Direction,
}

impl SessionOrder {
    fn statement(self) -> &'static str {
        LISTS[self.by as usize][self.direction as usize]
    }

    /// Its name among the lists.
    fn name(self) -> String {
        format!("sessions by {} {}", self.by, self.direction)
    }

    /// Where a session stands in it.
    pub fn position(self, session: &SessionView) -> SessionCursor {
        let time = |time: EventTime| Value::Time(time.micros_since_epoch());
        let value = match self.by {
            SessionSort::LastEvent => Some(time(session.last_event_at)),
            SessionSort::FirstEvent => Some(time(session.first_event_at)),
            SessionSort::Start => session.started_at.map(time),
            SessionSort::Events => Some(Value::Count(session.event_count)),
            SessionSort::Duration => session.duration_seconds.map(Value::Seconds),
        };
        SessionCursor { order: self, value, session_id: session.session_id.clone() }
    }
}

/// How many rows a page has at most: 1 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u16);

impl PageSize {
    pub const MAX: u16 = 1_000;

    /// None outside the range.
    pub fn new(rows: u16) -> Option<Self> {
        (1..=Self::MAX).contains(&rows).then_some(Self(rows))
    }

    pub fn get(self) -> usize {
        self.0.into()
    }

    /// One row more, which tells whether another page follows.
    pub(super) fn and_one_more(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl From<PageSize> for i64 {
    fn from(PageSize(rows): PageSize) -> Self {
        rows.into()
    }
}

/// What a session is sorted by; exact, so that a position is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    /// Microseconds since 1970.
    Time(i64),
    Count(i64),
    Seconds(f64),
}

/// A position in a list of sessions: behind this one.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionCursor {
    order: SessionOrder,
    value: Option<Value>,
    session_id: SessionId,
}

impl SessionCursor {
    /// The order of the list that it belongs to.
    pub fn order(&self) -> SessionOrder {
        self.order
    }
}

impl fmt::Display for SessionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.session_id.as_str();
        let name = self.order.name();
        f.write_str(&match self.value {
            Some(Value::Time(number) | Value::Count(number)) => cursor::encode(&name, (number, id)),
            Some(Value::Seconds(seconds)) => cursor::encode(&name, (seconds, id)),
            None => cursor::encode(&name, ((), id)),
        })
    }
}

impl FromStr for SessionCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let orders = SessionSort::ALL
            .iter()
            .flat_map(|by| Direction::ALL.iter().map(|direction| SessionOrder { by: *by, direction: *direction }));
        let mut positions = orders.filter_map(|order| {
            let (value, id): (serde_json::Value, String) = cursor::decode(&order.name(), text).ok()?;
            let value = if value.is_null() { None } else { Some(value_of(order.by, &value)?) };
            Some(Self { order, value, session_id: SessionId::parse(&id).ok()? })
        });
        positions.next().ok_or(InvalidCursor)
    }
}

fn value_of(sort: SessionSort, value: &serde_json::Value) -> Option<Value> {
    match sort {
        SessionSort::LastEvent | SessionSort::FirstEvent | SessionSort::Start => {
            let instant = chrono::DateTime::from_timestamp_micros(value.as_i64()?)?;
            Some(Value::Time(EventTime::from_utc(instant).ok()?.micros_since_epoch()))
        }
        SessionSort::Events => value.as_i64().map(Value::Count),
        SessionSort::Duration => value.as_f64().map(Value::Seconds),
    }
}

/// Some sessions in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPage {
    pub sessions: Vec<SessionView>,
    /// Where the next page begins; none after the last.
    pub next: Option<SessionCursor>,
}

impl Store {
    /// The sessions behind a position of the same order, or the first ones.
    ///
    /// # Errors
    /// If Postgres can't be asked, or takes longer than `postgres.statement_timeout`.
    pub async fn session_page(
        &self,
        filter: &SessionFilter,
        order: SessionOrder,
        after: Option<&SessionCursor>,
        size: PageSize,
    ) -> Result<SessionPage, StoreError> {
        let body = async |connection: &mut PgConnection| {
            connection.execute(ALLOW_SCAN).await?;
            let query = filter.bind(order.statement());
            let value = after.and_then(|after| after.value);
            let query = match order.by {
                SessionSort::LastEvent | SessionSort::FirstEvent | SessionSort::Start => query.bind(instant(value)),
                SessionSort::Events => query.bind(match value {
                    Some(Value::Count(count)) => Some(count),
                    _ => None,
                }),
                SessionSort::Duration => query.bind(match value {
                    Some(Value::Seconds(seconds)) => Some(seconds),
                    _ => None,
                }),
            };
            let query = query.bind(after.map(|after| after.session_id.as_str().to_owned())).bind(size.and_one_more());
            query.fetch_all(connection).await?.iter().map(SessionView::read).collect::<Result<Vec<_>, StoreError>>()
        };
        let mut sessions = self.transactions.run(&VIEW, body).await?;
        let more = sessions.len() > size.get();
        sessions.truncate(size.get());
        let next = sessions.last().filter(|_| more).map(|last| order.position(last));
        Ok(SessionPage { sessions, next })
    }
}

fn instant(value: Option<Value>) -> Option<chrono::DateTime<chrono::Utc>> {
    match value {
        Some(Value::Time(micros)) => chrono::DateTime::from_timestamp_micros(micros),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors() -> impl Iterator<Item = SessionCursor> {
        let values = |by| match by {
            SessionSort::Events => vec![Some(Value::Count(i64::MAX))],
            SessionSort::Duration => vec![Some(Value::Seconds(0.1 + 0.2)), Some(Value::Seconds(0.0)), None],
            _ => vec![Some(Value::Time(253_402_300_799_999_999)), Some(Value::Time(-1)), None],
        };
        SessionSort::ALL.iter().flat_map(move |by| {
            Direction::ALL.iter().flat_map(move |direction| {
                let order = SessionOrder { by: *by, direction: *direction };
                let session_id = SessionId::parse("a \"b\"\n\u{1f600}").unwrap();
                values(*by).into_iter().map(move |value| SessionCursor { order, value, session_id: session_id.clone() })
            })
        })
    }

    #[test]
    fn a_position_is_read_back_exactly() {
        let mut texts = std::collections::HashSet::new();
        for cursor in cursors() {
            assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
            assert!(texts.insert(cursor.to_string()));
        }
        assert_eq!(texts.len(), 26);
    }

    #[test]
    fn a_text_that_is_no_position_is_refused() {
        let order = SessionOrder { by: SessionSort::Events, direction: Direction::Ascending };
        let name = order.name();
        for text in [
            String::new(),
            "?".to_owned(),
            "e30".to_owned(),
            cursor::encode("another list", (1, "s")),
            cursor::encode(&name, ("1", "s")),
            cursor::encode(&name, (1, "")),
            cursor::encode(&name, (1.5, "s")),
            cursor::encode("sessions by last-event ascending", (i64::MAX, "s")),
        ] {
            assert_eq!(text.parse::<SessionCursor>(), Err(InvalidCursor), "{text}");
        }
        assert!(cursor::encode(&name, (1, "s")).parse::<SessionCursor>().is_ok());
    }

    #[test]
    fn each_order_has_a_statement_of_its_own() {
        let statements: std::collections::HashSet<&str> = STATEMENTS.into_iter().collect();
        assert_eq!(statements.len(), STATEMENTS.len());
        let order = SessionOrder { by: SessionSort::Duration, direction: Direction::Descending };
        assert!(order.statement().contains("list_sessions_by_duration_descending"));
    }

    #[test]
    fn a_page_has_one_to_a_thousand_rows() {
        assert_eq!([0, 1, 1_000, 1_001].map(|rows| PageSize::new(rows).is_some()), [false, true, true, false]);
    }
}
