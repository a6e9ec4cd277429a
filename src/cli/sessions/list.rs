//! `sessionfold sessions list`.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        CommandResult, Failure,
        progress::grouped,
        table::{Column, Table},
        terminal::{Colour, Terminal, print, visible},
    },
    fold::Status,
    store::{Direction, PageSize, SessionCursor, SessionOrder, SessionPage, SessionSort, SessionView, Store},
};

use super::{
    filter::{FilterArgs, one_of},
    text::{duration, instant},
};

#[derive(Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// What to sort by: the greatest first; sessions without a value come last
    #[arg(long, value_name = "BY", default_value = "last-event", value_parser = one_of(SessionSort::ALL, SessionSort::as_str))]
    sort: SessionSort,
    /// The least first
    #[arg(long)]
    ascending: bool,
    /// How many sessions a page has, 1 to 1000
    #[arg(long, value_name = "N", default_value = "50", value_parser = page_size)]
    limit: PageSize,
    /// The page behind the one that ended with this text
    #[arg(long, value_name = "POSITION")]
    after: Option<SessionCursor>,
    /// Print one JSON object: the sessions, and the next page's position
    #[arg(long)]
    json: bool,
}

pub(super) fn page_size(text: &str) -> Result<PageSize, String> {
    let size = || format!("allowed: a whole number from 1 to {}", PageSize::MAX);
    text.parse().ok().and_then(PageSize::new).ok_or_else(size)
}

pub(super) async fn execute(store: &Store, args: ListArgs) -> CommandResult {
    let direction = if args.ascending { Direction::Ascending } else { Direction::Descending };
    let order = SessionOrder { by: args.sort, direction };
    if let Some(after) = args.after.as_ref().filter(|after| after.order() != order) {
        let SessionOrder { by, direction } = after.order();
        let what = format!("--after is a position in the list by {by}, {direction}: sort by that, or begin anew");
        return Err(Failure::Usage(anyhow!(what)));
    }
    let page = store.session_page(&args.filter.filter(), order, args.after.as_ref(), args.limit).await?;
    let text = if args.json {
        let next = page.next.as_ref().map(ToString::to_string);
        format!("{}\n", json!({"sessions": page.sessions, "next": next}))
    } else {
        table(&page, Terminal::of_stdout())
    };
    let _ = print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Of a longer id so much is shown at least; those of agents have 36 characters.
const LEAST_SESSION: usize = 36;
/// Of a longer directory or branch.
const LEAST_TEXT: usize = 14;

/// The page as a table.
pub(super) fn table(page: &SessionPage, terminal: Terminal) -> String {
    if page.sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let mut table = Table::new([
        Column::text("session").cut_to(LEAST_SESSION),
        Column::text("status"),
        Column::text("last event (UTC)"),
        Column::number("lasted"),
        Column::number("prompts"),
        Column::number("tools"),
        Column::text("directory").cut_to(LEAST_TEXT),
        Column::text("branch").cut_to(LEAST_TEXT),
    ]);
    for session in &page.sessions {
        table.add_coloured(cells(session), colour_of(session.status));
    }
    let mut text = table.drawn(terminal);
    if let Some(next) = &page.next {
        text += &format!("next: --after {next}\n");
    }
    text
}

fn cells(session: &SessionView) -> [String; 8] {
    let or_none = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), visible);
    let count = |count: i64| grouped(count.unsigned_abs());
    [
        visible(session.session_id.as_str()),
        session.status.to_string(),
        instant(session.last_event_at),
        session.duration_seconds.map_or_else(|| "-".to_owned(), duration),
        count(session.prompt_count),
        count(session.tool_count),
        or_none(session.working_directory.as_deref()),
        or_none(session.git_branch.as_deref()),
    ]
}

pub(super) fn colour_of(status: Status) -> Option<Colour> {
    match status {
        Status::Active => Some(Colour::Green),
        Status::Orphan => Some(Colour::Yellow),
        Status::TimedOut => Some(Colour::Dim),
        Status::Ended => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{sessions::samples, terminal::columns};

    use super::*;

    const PLAIN: Terminal = Terminal { width: 120, colours: false };

    #[test]
    fn a_page_is_a_table_that_ends_with_where_the_next_one_begins() {
        assert_eq!(table(&samples::page(), PLAIN), samples::TABLE);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_none_holds_a_control_character() {
        let mut page = samples::page();
        page.next = None;
        for session in &mut page.sessions {
            session.working_directory = Some("/home/日本語/\x1b[2J\r\n".repeat(40));
            session.git_branch = Some("feature/\u{202e}\x07".repeat(40));
        }
        for width in 60..200 {
            let text = table(&page, Terminal { width, ..PLAIN });
            assert!(text.lines().all(|line| columns(line) <= width), "{width}\n{text}");
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
            assert!(text.contains("0b0f7c1e-4a2d-4b7e-9d55-3f0d6f1f9a11"), "{text}");
        }
    }

    #[test]
    fn an_empty_page_says_so() {
        assert_eq!(table(&SessionPage { sessions: Vec::new(), next: None }, PLAIN), "no sessions\n");
    }
}
