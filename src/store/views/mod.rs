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

mod cursor;
mod detail;
mod export;
mod filter;
mod list;
mod session;
mod timeline;

pub use cursor::InvalidCursor;
pub use detail::{FailedExecution, LastEvents, PromptLine, SessionDetail, TransitionLine};
pub use filter::SessionFilter;
pub use list::{Direction, PageSize, SessionCursor, SessionOrder, SessionPage, SessionSort};
pub use session::SessionView;
pub use timeline::{Timeline, TimelineCursor, TimelineEntry};

use super::transaction::{Isolation, TransactionSpec};

/// All statements of this room.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    list::STATEMENTS.into_iter().chain(detail::STATEMENTS).chain(export::STATEMENTS).chain(timeline::STATEMENTS)
}

/// Of one moment. `postgres.statement_timeout` holds: who looks shall not burden the tables for long.
const VIEW: TransactionSpec = TransactionSpec {
    name: "view_sessions",
    isolation: Isolation::RepeatableRead,
    read_only: true,
    statement_timeout: None,
};
