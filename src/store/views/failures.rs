//! Executions that failed, over all sessions, the newest first.

use std::{fmt, str::FromStr};

use chrono::DateTime;
use serde::Serialize;
use sqlx::{PgConnection, postgres::PgRow};
use uuid::Uuid;

use crate::{
    event::{EventTime, SessionId},
    store::{Store, error::StoreError},
};

use super::{
    VIEW, cursor,
    cursor::InvalidCursor,
    list::PageSize,
    range::{TimeRange, free_plan},
    session::ViewRow,
};

const FAILURES: &str = concat!(
    "/* failed_executions */
    SELECT t.session_id, t.tool_execution_id, t.emitted_at, t.tool_name, t.duration_ms, t.summary,
        s.status, s.working_directory, s.git_branch
    ",
    executions_in_range!(),
    " AND s.tool_failure_count > 0 AND NOT t.success AND ($3::text IS NULL OR t.tool_name = $3)
        AND ($4::timestamptz IS NULL OR (t.emitted_at, t.session_id, t.tool_execution_id) < ($4, $5::text, $6::uuid))
    ORDER BY t.emitted_at DESC, t.session_id DESC, t.tool_execution_id DESC
    LIMIT $7"
);

pub(super) const STATEMENTS: [&str; 1] = [FAILURES];

/// An execution that failed, and where.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionFailure {
    pub session_id: SessionId,
    pub tool_execution_id: Uuid,
    pub emitted_at: EventTime,
    pub tool_name: String,
    pub duration_ms: Option<i32>,
    pub summary: Option<String>,
    /// The session's, as it is now.
    pub status: String,
    pub working_directory: Option<String>,
    pub git_branch: Option<String>,
}

impl SessionFailure {
    fn read(row: &PgRow) -> Result<Self, StoreError> {
        let row = ViewRow { table: "tool_executions", row };
        Ok(Self {
            session_id: row.session_id()?,
            tool_execution_id: row.get("tool_execution_id")?,
            emitted_at: row.time("emitted_at")?,
            tool_name: row.get("tool_name")?,
            duration_ms: row.get("duration_ms")?,
            summary: row.get("summary")?,
            status: row.get("status")?,
            working_directory: row.get("working_directory")?,
            git_branch: row.get("git_branch")?,
        })
    }

    fn position(&self) -> FailureCursor {
        FailureCursor { at: self.emitted_at, session_id: self.session_id.clone(), id: self.tool_execution_id }
    }
}

/// A position among failures: behind this one, hence before it in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureCursor {
    at: EventTime,
    session_id: SessionId,
    id: Uuid,
}

/// Tells these positions from those of other lists.
const NAME: &str = "failures";

impl fmt::Display for FailureCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&cursor::encode(NAME, (self.at.micros_since_epoch(), self.session_id.as_str(), self.id)))
    }
}

impl FromStr for FailureCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (micros, session_id, id): (i64, String, Uuid) = cursor::decode(NAME, text)?;
        let at = DateTime::from_timestamp_micros(micros).and_then(|instant| EventTime::from_utc(instant).ok());
        let session_id = SessionId::parse(&session_id).map_err(|_| InvalidCursor)?;
        Ok(Self { at: at.ok_or(InvalidCursor)?, session_id, id })
    }
}

impl Store {
    /// Executions that failed in this time, of any tool or of this one, and where the next ones begin.
    ///
    /// # Errors
    /// If Postgres can't be asked, or takes too long.
    pub async fn failures(
        &self,
        range: TimeRange,
        tool: Option<&str>,
        after: Option<&FailureCursor>,
        size: PageSize,
    ) -> Result<(Vec<SessionFailure>, Option<FailureCursor>), StoreError> {
        let body = async |connection: &mut PgConnection| {
            free_plan(connection).await?;
            let query = sqlx::query(FAILURES).bind(range.from().as_utc()).bind(range.to().as_utc()).bind(tool);
            let query = query.bind(after.map(|after| after.at.as_utc()));
            let query = query.bind(after.map(|after| after.session_id.as_str())).bind(after.map(|after| after.id));
            let rows = query.bind(size.and_one_more()).fetch_all(connection).await?;
            rows.iter().map(SessionFailure::read).collect::<Result<Vec<_>, StoreError>>()
        };
        let mut failures = self.transactions.run(&VIEW, body).await?;
        let more = failures.len() > size.get();
        failures.truncate(size.get());
        let next = failures.last().filter(|_| more).map(SessionFailure::position);
        Ok((failures, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_exactly_and_nothing_else_is_one() {
        let at = EventTime::parse("2026-03-01T09:00:00.000001Z").unwrap();
        let session_id = SessionId::parse("a \"b\"\n\u{1f600}").unwrap();
        let cursor = FailureCursor { at, session_id, id: Uuid::from_u128(7) };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in [
            String::new(),
            cursor::encode("timeline", (1, "s", Uuid::nil())),
            cursor::encode(NAME, (1, "", Uuid::nil())),
            cursor::encode(NAME, (i64::MAX, "s", Uuid::nil())),
        ] {
            assert_eq!(text.parse::<FailureCursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
