//! One session, with what an operator asks first.

use serde::Serialize;
use sqlx::{PgConnection, postgres::PgRow};

use crate::{
    event::{Event, EventTime, SessionId},
    fold::Status,
    store::{Store, error::StoreError},
};

use super::{
    VIEW,
    session::{SessionView, ViewRow},
};

pub(super) const SESSION: &str =
    concat!("/* view_session */ SELECT ", session_columns!(), " FROM sessions WHERE session_id = $1");

/// The first and the last ones.
const PROMPTS: &str = "/* view_prompts */
    SELECT emitted_at, prompt_preview, prompt_length
    FROM (
        SELECT *, row_number() OVER (ORDER BY emitted_at, prompt_id) AS from_first,
            row_number() OVER (ORDER BY emitted_at DESC, prompt_id DESC) AS from_last
        FROM prompts WHERE session_id = $1
    ) AS numbered
    WHERE from_first <= $2 OR from_last <= $2
    ORDER BY from_first";

const FAILURES: &str = "/* view_failures */
    SELECT emitted_at, tool_name, duration_ms, summary
    FROM tool_executions
    WHERE session_id = $1 AND NOT success
    ORDER BY emitted_at DESC, tool_execution_id DESC
    LIMIT $2";

const TRANSITIONS: &str = "/* view_transitions */
    SELECT count(*) OVER () AS transitions, from_status, to_status, cause, occurred_at
    FROM transitions
    WHERE session_id = $1
    ORDER BY session_version DESC, id DESC
    LIMIT 1";

const LAST: &str = "/* view_last_events */
    SELECT (SELECT max(emitted_at) FROM lifecycle_events WHERE session_id = $1 AND kind = 'started') AS start,
        (SELECT max(emitted_at) FROM lifecycle_events WHERE session_id = $1 AND kind = 'ended') AS end,
        greatest((SELECT max(emitted_at) FROM prompts WHERE session_id = $1),
            (SELECT max(emitted_at) FROM tool_executions WHERE session_id = $1)) AS activity";

const END: &str = "/* view_end */
    SELECT s.status
    FROM sessions s
    JOIN lifecycle_events l ON l.session_id = s.session_id AND l.kind = 'ended' AND l.emitted_at = $2
        AND l.causation_id = $3
    WHERE s.session_id = $1";

pub(super) const STATEMENTS: [&str; 6] = [SESSION, PROMPTS, FAILURES, TRANSITIONS, LAST, END];

/// How many prompts from either end.
const PROMPTS_SHOWN: i64 = 2;
const FAILURES_SHOWN: i64 = 5;

/// A session, its first and last prompts, its last failures and its last transition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionDetail {
    #[serde(flatten)]
    pub session: SessionView,
    /// The first two and the last two; all of up to four.
    pub prompts: Vec<PromptLine>,
    /// The last five executions that failed, in their order.
    pub failures: Vec<FailedExecution>,
    pub transition_count: i64,
    pub last_transition: Option<TransitionLine>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptLine {
    pub emitted_at: EventTime,
    pub prompt_preview: String,
    /// In characters.
    pub prompt_length: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailedExecution {
    pub emitted_at: EventTime,
    pub tool_name: String,
    pub duration_ms: Option<i32>,
    pub summary: Option<String>,
}

/// A change of a session's status.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransitionLine {
    /// None for a session's first row.
    pub from_status: Option<String>,
    pub to_status: String,
    pub cause: String,
    pub occurred_at: EventTime,
}

/// When a session's last events of some kinds were emitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastEvents {
    pub start: Option<EventTime>,
    pub end: Option<EventTime>,
    /// A prompt or a tool execution.
    pub activity: Option<EventTime>,
}

impl TransitionLine {
    pub(super) fn read(row: &PgRow) -> Result<Self, StoreError> {
        let row = ViewRow { table: "transitions", row };
        Ok(Self {
            from_status: row.get("from_status")?,
            to_status: row.get("to_status")?,
            cause: row.get("cause")?,
            occurred_at: row.time("occurred_at")?,
        })
    }
}

impl Store {
    /// One session; none without a row.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn session_detail(&self, session_id: &SessionId) -> Result<Option<SessionDetail>, StoreError> {
        self.transactions.run(&VIEW, async |connection| read(connection, session_id.as_str()).await).await
    }

    /// When a session's last events were.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn last_events(&self, session_id: &SessionId) -> Result<LastEvents, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let row = sqlx::query(LAST).bind(session_id.as_str()).fetch_one(connection).await?;
            let row = ViewRow { table: "events", row: &row };
            let [start, end, activity] = ["start", "end", "activity"].map(|column| row.nullable_time(column));
            Ok::<_, StoreError>(LastEvents { start: start?, end: end?, activity: activity? })
        };
        self.transactions.run(&VIEW, body).await
    }

    /// The status of a session in which this end is stored; none where it is not.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn status_with_end(&self, end: &Event) -> Result<Option<Status>, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query_scalar(END).bind(end.session_id.as_str()).bind(end.emitted_at.as_utc());
            Ok::<_, StoreError>(query.bind(end.causation_id).fetch_optional(connection).await?)
        };
        let status: Option<String> = self.transactions.run(&VIEW, body).await?;
        let known =
            |status: String| Status::from_name(&status).ok_or_else(|| StoreError::corrupt("sessions", "status"));
        status.map(known).transpose()
    }

    /// The rows of these sessions, in the order asked for; those without one are left out.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn session_views(&self, sessions: &[SessionId]) -> Result<Vec<SessionView>, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let mut found = Vec::new();
            for session_id in sessions {
                found.extend(view(connection, session_id.as_str()).await?);
            }
            Ok(found)
        };
        self.transactions.run(&VIEW, body).await
    }
}

pub(super) async fn view(connection: &mut PgConnection, session_id: &str) -> Result<Option<SessionView>, StoreError> {
    let row = sqlx::query(SESSION).bind(session_id).fetch_optional(connection).await?;
    row.map(|row| SessionView::read(&row)).transpose()
}

async fn read(connection: &mut PgConnection, session_id: &str) -> Result<Option<SessionDetail>, StoreError> {
    let Some(session) = view(connection, session_id).await? else { return Ok(None) };
    let prompts = sqlx::query(PROMPTS).bind(session_id).bind(PROMPTS_SHOWN).fetch_all(&mut *connection).await?;
    let failures = sqlx::query(FAILURES).bind(session_id).bind(FAILURES_SHOWN).fetch_all(&mut *connection).await?;
    let last = sqlx::query(TRANSITIONS).bind(session_id).fetch_optional(connection).await?;
    let transition_count = |row: &PgRow| ViewRow { table: "transitions", row }.get("transitions");
    Ok(Some(SessionDetail {
        session,
        prompts: prompts.iter().map(prompt).collect::<Result<_, _>>()?,
        failures: failures.iter().rev().map(failure).collect::<Result<_, _>>()?,
        transition_count: last.as_ref().map_or(Ok(0), transition_count)?,
        last_transition: last.as_ref().map(TransitionLine::read).transpose()?,
    }))
}

fn prompt(row: &PgRow) -> Result<PromptLine, StoreError> {
    let row = ViewRow { table: "prompts", row };
    Ok(PromptLine {
        emitted_at: row.time("emitted_at")?,
        prompt_preview: row.get("prompt_preview")?,
        prompt_length: row.get("prompt_length")?,
    })
}

fn failure(row: &PgRow) -> Result<FailedExecution, StoreError> {
    let row = ViewRow { table: "tool_executions", row };
    Ok(FailedExecution {
        emitted_at: row.time("emitted_at")?,
        tool_name: row.get("tool_name")?,
        duration_ms: row.get("duration_ms")?,
        summary: row.get("summary")?,
    })
}
