//! What readers see of sessions: lists, one session, its timeline, and everything. Typed, so that the command line and
//! whatever else asks say the same.

/// The columns of a [`SessionView`].
macro_rules! session_columns {
    () => {
        "session_id, status, correlation_id, task_id, started_at, ended_at, duration_seconds, working_directory, \
         git_branch, hook_source, end_reason, end_provenance, run_count, prompt_count, tool_count, tool_failure_count, \
         tools_used_count, tool_usage, event_count, first_event_at, last_event_at, aggregator, version, created_at, \
         updated_at"
    };
}

/// What a [`SessionFilter`] asks for; it binds `$1` to `$7`.
macro_rules! session_filter {
    () => {
        "($1::text[] IS NULL OR status = ANY($1))
        AND ($2::text IS NULL OR working_directory = $2)
        AND ($3::text IS NULL OR rtrim(working_directory, '/\\') = $3 OR starts_with(working_directory, $3 || '/')
            OR starts_with(working_directory, $3 || '\\'))
        AND ($4::text IS NULL OR git_branch = $4)
        AND ($5::timestamptz IS NULL OR last_event_at >= $5) AND ($6::timestamptz IS NULL OR last_event_at < $6)
        AND ($7::text IS NULL OR tool_usage ? $7)"
    };
}

/// Sessions `s` and their executions `t` from `$1` on and before `$2`.
macro_rules! executions_in_range {
    () => {
        "FROM sessions s JOIN tool_executions t ON t.session_id = s.session_id
        WHERE s.last_event_hour >= date_bin('1 hour', $1::timestamptz, timestamptz '2000-01-01 00:00:00+00')
            AND s.last_event_at >= $1 AND s.first_event_at < $2::timestamptz
            AND t.emitted_at >= $1 AND t.emitted_at < $2"
    };
}

mod changes;
mod cursor;
mod detail;
mod export;
mod failures;
mod filter;
mod list;
mod range;
mod recency;
mod session;
mod timeline;
mod tools;

pub use changes::{ChangeCursor, Changes, ChangesSince, OtherTables};
pub use cursor::InvalidCursor;
pub use detail::{FailedExecution, LastEvents, PromptLine, SessionDetail, TransitionLine};
pub use failures::{FailureCursor, SessionFailure};
pub use filter::SessionFilter;
pub use list::{Direction, PageSize, SessionCursor, SessionOrder, SessionPage, SessionSort};
pub use range::TimeRange;
pub use recency::{PipelineTables, Recency};
pub use session::SessionView;
pub use timeline::{Timeline, TimelineCursor, TimelineEntry};
pub use tools::ToolUsage;

use super::transaction::{Isolation, TransactionSpec};

/// All statements of this room.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    list::STATEMENTS
        .into_iter()
        .chain(detail::STATEMENTS)
        .chain(export::STATEMENTS)
        .chain(timeline::STATEMENTS)
        .chain(tools::STATEMENTS)
        .chain(failures::STATEMENTS)
        .chain(changes::STATEMENTS)
        .chain(recency::STATEMENTS)
}

/// Of one moment. `postgres.statement_timeout` holds: who looks shall not burden the tables for long.
const VIEW: TransactionSpec = TransactionSpec {
    name: "view_sessions",
    isolation: Isolation::RepeatableRead,
    read_only: true,
    statement_timeout: None,
};
