//! What happened in a session, in the order of its events, with the changes of its status in between.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, postgres::PgRow};
use uuid::Uuid;

use crate::{
    event::{Event, EventKind, EventTime, SessionId},
    store::{Store, error::StoreError, events},
};

use super::{
    VIEW, cursor,
    cursor::InvalidCursor,
    detail::{TransitionLine, view},
    list::PageSize,
    session::{SessionView, ViewRow},
};

/// The page's keys first, which are small to sort, then what belongs to them. Ranks are those of [`Rank`].
const TIMELINE: &str = "/* view_timeline */
    WITH page AS (
        SELECT at, rank, id
        FROM (
            SELECT emitted_at, CASE kind WHEN 'started' THEN 0 ELSE 3 END, causation_id
                FROM lifecycle_events WHERE session_id = $1
            UNION ALL SELECT emitted_at, 1, prompt_id FROM prompts WHERE session_id = $1
            UNION ALL SELECT emitted_at, 2, tool_execution_id FROM tool_executions WHERE session_id = $1
            UNION ALL SELECT occurred_at, 4, id FROM transitions WHERE session_id = $1 AND $6
        ) AS entries(at, rank, id)
        WHERE $2::timestamptz IS NULL OR (at, rank, id) > ($2, $3::int, $4::uuid)
        ORDER BY at, rank, id
        LIMIT $5
    )
    SELECT page.at, page.rank, page.id, page.at AS emitted_at, $1 AS session_id, NULL::bigint AS arrival,
        coalesce(l.entity_id, p.entity_id, t.entity_id) AS entity_id,
        coalesce(l.correlation_id, p.correlation_id, t.correlation_id) AS correlation_id,
        coalesce(l.causation_id, p.causation_id, t.causation_id) AS causation_id,
        coalesce(l.task_id, p.task_id, t.task_id) AS task_id,
        coalesce(l.action_description, p.action_description, t.action_description) AS action_description,
        l.kind, l.working_directory, l.git_branch, l.hook_source, l.reason, l.duration_seconds, l.tools_used_count,
        p.prompt_id, p.prompt_preview, p.prompt_length, p.detected_intent,
        t.tool_execution_id, t.tool_name, t.success, t.duration_ms, t.summary,
        x.from_status, x.to_status, x.cause, x.occurred_at
    FROM page
    LEFT JOIN lifecycle_events l ON page.rank IN (0, 3) AND l.session_id = $1 AND l.emitted_at = page.at
        AND l.causation_id = page.id AND l.kind = CASE page.rank WHEN 0 THEN 'started' ELSE 'ended' END
    LEFT JOIN prompts p ON page.rank = 1 AND p.session_id = $1 AND p.prompt_id = page.id
    LEFT JOIN tool_executions t ON page.rank = 2 AND t.session_id = $1 AND t.tool_execution_id = page.id
    LEFT JOIN transitions x ON page.rank = 4 AND x.session_id = $1 AND x.id = page.id
    ORDER BY page.at, page.rank, page.id";

pub(super) const STATEMENTS: [&str; 1] = [TIMELINE];

/// What an entry is, in the order in which entries of one instant stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Event(EventKind),
    Transition,
}

impl Rank {
    const TRANSITION: i32 = 4;

    fn of(number: i32) -> Option<Self> {
        if number == Self::TRANSITION {
            return Some(Rank::Transition);
        }
        EventKind::ALL.iter().copied().find(|kind| *kind as i32 == number).map(Rank::Event)
    }

    fn number(self) -> i32 {
        match self {
            Rank::Event(kind) => kind as i32,
            Rank::Transition => Self::TRANSITION,
        }
    }
}

/// A position in a timeline: behind this entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineCursor {
    at: EventTime,
    rank: Rank,
    id: Uuid,
}

/// Tells a timeline's positions from those of other lists.
const NAME: &str = "timeline";

impl TimelineCursor {
    /// When the entry happened.
    pub fn at(self) -> EventTime {
        self.at
    }
}

impl fmt::Display for TimelineCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&cursor::encode(NAME, (self.at.micros_since_epoch(), self.rank.number(), self.id)))
    }
}

impl FromStr for TimelineCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (micros, rank, id) = cursor::decode(NAME, text)?;
        let at = DateTime::from_timestamp_micros(micros).and_then(|instant| EventTime::from_utc(instant).ok());
        Ok(Self { at: at.ok_or(InvalidCursor)?, rank: Rank::of(rank).ok_or(InvalidCursor)?, id })
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum TimelineEntry {
    Event(Box<Event>),
    /// When it was written, which is later than the event that caused it: by a backlog, if there was one.
    Transition(TransitionLine),
}

impl TimelineEntry {
    pub fn at(&self) -> EventTime {
        match self {
            TimelineEntry::Event(event) => event.emitted_at,
            TimelineEntry::Transition(transition) => transition.occurred_at,
        }
    }
}

/// A part of what happened in a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    pub session: SessionView,
    pub entries: Vec<TimelineEntry>,
    /// Where the next page begins; none after the last.
    pub next: Option<TimelineCursor>,
}

impl Timeline {
    /// As machines read it: an event as its envelope, a transition as its columns in a member `transition`.
    pub fn to_json(&self) -> Value {
        let entry = |entry: &TimelineEntry| match entry {
            TimelineEntry::Event(event) => event.to_json(),
            TimelineEntry::Transition(transition) => json!({"transition": transition}),
        };
        json!({
            "session": self.session,
            "entries": self.entries.iter().map(entry).collect::<Vec<_>>(),
            "next": self.next.map(|next| next.to_string()),
        })
    }
}

impl Store {
    /// What happened in a session behind a position, or from its beginning; none without a row.
    ///
    /// # Errors
    /// If Postgres can't be asked, or one of the events can't be read.
    pub async fn timeline(
        &self,
        session_id: &SessionId,
        after: Option<TimelineCursor>,
        size: PageSize,
    ) -> Result<Option<Timeline>, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let Some(session) = view(connection, session_id.as_str()).await? else { return Ok(None) };
            let (entries, next) = read(connection, session_id, after, size.get(), true).await?;
            Ok::<_, StoreError>(Some(Timeline { session, entries, next }))
        };
        self.transactions.run(&VIEW, body).await
    }

    /// Up to `most` events of a session behind a position, in their order, and where the next ones begin.
    ///
    /// # Errors
    /// If Postgres can't be asked, or one of the events can't be read.
    pub async fn events_in_order(
        &self,
        session_id: &SessionId,
        after: Option<TimelineCursor>,
        most: usize,
    ) -> Result<(Vec<Event>, Option<TimelineCursor>), StoreError> {
        let body = async |connection: &mut PgConnection| read(connection, session_id, after, most, false).await;
        let (entries, next) = self.transactions.run(&VIEW, body).await?;
        let event = |entry| match entry {
            TimelineEntry::Event(event) => Some(*event),
            TimelineEntry::Transition(_) => None,
        };
        Ok((entries.into_iter().filter_map(event).collect(), next))
    }
}

async fn read(
    connection: &mut PgConnection,
    session_id: &SessionId,
    after: Option<TimelineCursor>,
    most: usize,
    with_transitions: bool,
) -> Result<(Vec<TimelineEntry>, Option<TimelineCursor>), StoreError> {
    let query = sqlx::query(TIMELINE)
        .bind(session_id.as_str())
        .bind(after.map(|after| after.at.as_utc()))
        .bind(after.map(|after| after.rank.number()))
        .bind(after.map(|after| after.id))
        .bind(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1))
        .bind(with_transitions);
    let rows = query.fetch_all(connection).await?;
    let mut next = None;
    let mut entries = Vec::with_capacity(rows.len().min(most));
    for row in rows.iter().take(most) {
        let (cursor, entry) = entry(row)?;
        entries.push(entry);
        next = Some(cursor);
    }
    Ok((entries, next.filter(|_| rows.len() > most)))
}

fn entry(row: &PgRow) -> Result<(TimelineCursor, TimelineEntry), StoreError> {
    let fields = ViewRow { table: "timeline", row };
    let at = fields.parse("at", |instant: DateTime<Utc>| EventTime::from_utc(instant).ok())?;
    let rank = fields.parse("rank", Rank::of)?;
    let entry = match rank {
        Rank::Event(kind) => TimelineEntry::Event(Box::new(events::read(kind, row)?)),
        Rank::Transition => TimelineEntry::Transition(TransitionLine::read(row)?),
    };
    Ok((TimelineCursor { at, rank, id: fields.get("id")? }, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_exactly_and_nothing_else_is_one() {
        let at = EventTime::parse("2026-03-01T09:00:00.000001Z").unwrap();
        let ranks = EventKind::ALL.iter().map(|kind| Rank::Event(*kind)).chain([Rank::Transition]);
        for rank in ranks {
            let cursor = TimelineCursor { at, rank, id: Uuid::from_u128(7) };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in
            [String::new(), cursor::encode("other", (1, 1, Uuid::nil())), cursor::encode(NAME, (1, 5, Uuid::nil()))]
        {
            assert_eq!(text.parse::<TimelineCursor>(), Err(InvalidCursor), "{text}");
        }
    }

    #[test]
    fn the_kinds_have_the_ranks_that_the_statement_gives_them() {
        let ranks = [EventKind::Started, EventKind::Prompt, EventKind::Tool, EventKind::Ended];
        assert_eq!(ranks.map(|kind| Rank::Event(kind).number()), [0, 1, 2, 3]);
    }
}
