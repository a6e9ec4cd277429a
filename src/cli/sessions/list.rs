//! `sessionfold sessions list`.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        CommandResult, Failure,
        progress::grouped,
        terminal::{Colour, Terminal, columns, left, print, right, visible},
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
    text.parse().ok().and_then(PageSize::new).ok_or_else(|| format!("allowed: 1 to {}", PageSize::MAX))
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

const HEAD: [&str; 8] = ["session", "status", "last event (UTC)", "lasted", "prompts", "tools", "directory", "branch"];
const NUMBERS: std::ops::RangeInclusive<usize> = 3..=5;
const SESSION: usize = 0;
const DIRECTORY: usize = 6;
const BRANCH: usize = 7;
/// What a narrow terminal goes without, this first.
const LEFT_OUT: [usize; 6] = [BRANCH, 4, 5, DIRECTORY, 3, 2];
/// Longer ids are cut; those of agents have 36 characters.
const MOST_SESSION: usize = 64;
/// Of a longer directory or branch so much is shown at least.
const LEAST_TEXT: usize = 14;
const SPACE: &str = "  ";

/// The page as a table.
pub(super) fn table(page: &SessionPage, terminal: Terminal) -> String {
    if page.sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let rows: Vec<[String; 8]> = page.sessions.iter().map(cells).collect();
    let widths = widths(&rows, terminal.width);
    let mut text = terminal.paint(Colour::Bold, &line(&HEAD.map(str::to_owned), widths)) + "\n";
    for (session, row) in page.sessions.iter().zip(&rows) {
        let row = line(row, widths);
        text += &colour_of(session.status).map_or_else(|| row.clone(), |colour| terminal.paint(colour, &row));
        text += "\n";
    }
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

/// How wide each column is; none where it is left out.
fn widths(rows: &[[String; 8]], room: usize) -> [Option<usize>; 8] {
    let widest = |column: usize| rows.iter().map(|row| columns(&row[column])).max().unwrap_or(0);
    let wanted: [usize; 8] = std::array::from_fn(|column| widest(column).max(columns(HEAD[column])));
    let least = |column: usize| match column {
        SESSION => wanted[column].min(MOST_SESSION),
        DIRECTORY | BRANCH => wanted[column].min(LEAST_TEXT),
        _ => wanted[column],
    };
    let mut widths: [Option<usize>; 8] = std::array::from_fn(|column| Some(least(column)));
    let taken = |widths: &[Option<usize>; 8]| {
        widths.iter().flatten().map(|width| width + SPACE.len()).sum::<usize>() - SPACE.len()
    };
    for column in LEFT_OUT {
        if taken(&widths) > room {
            widths[column] = None;
        }
    }
    widths[SESSION] = widths[SESSION].map(|width| width.min(room.saturating_sub(taken(&widths) - width)));
    for column in [DIRECTORY, BRANCH] {
        let left = room.saturating_sub(taken(&widths));
        widths[column] = widths[column].map(|width| wanted[column].min(width + left));
    }
    widths
}

fn line(cells: &[String; 8], widths: [Option<usize>; 8]) -> String {
    let shown = (0..).zip(cells.iter().zip(widths)).filter_map(|(column, (cell, width))| {
        let align = if NUMBERS.contains(&column) { right } else { left };
        Some(align(cell, width?))
    });
    shown.collect::<Vec<_>>().join(SPACE).trim_end().to_owned()
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
    use crate::cli::sessions::samples;

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
