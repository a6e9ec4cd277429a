//! `sessionfold sessions export`: JSON lines, a page of sessions at a time.

use std::{fmt::Write, process::ExitCode};

use anyhow::anyhow;
use clap::Args;

use crate::{
    cli::{
        CommandResult, Failure,
        terminal::{Reader, print},
    },
    event::{Event, SessionId},
    store::{PageSize, SessionView, Store},
};

use super::{filter::FilterArgs, text::quoted};

#[derive(Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Write the stored events as their envelopes instead, one a line: by session, in the order of their times
    #[arg(long)]
    events: bool,
}

const PAGE: u16 = 500;
/// So many events are held in memory, if each is of a session that has no more.
const EVENTS_AT_A_TIME: usize = 10_000;

pub(super) async fn execute(store: &Store, args: ExportArgs) -> CommandResult {
    let filter = args.filter.filter();
    let size = PageSize::new(PAGE).ok_or_else(|| anyhow!("a page can't have {PAGE} rows"))?;
    let mut after: Option<SessionId> = None;
    loop {
        let page = store.sessions_by_id(&filter, after.as_ref(), size).await?;
        let reader = if args.events { write_events(store, &page).await? } else { write_sessions(&page)? };
        if reader == Reader::Left || page.len() < size.get() {
            return Ok(ExitCode::SUCCESS);
        }
        after = page.into_iter().next_back().map(|session| session.session_id);
    }
}

fn write_sessions(page: &[SessionView]) -> Result<Reader, Failure> {
    let mut lines = String::new();
    for session in page {
        lines += &serde_json::to_string(session)?;
        lines.push('\n');
    }
    Ok(print(&lines)?)
}

async fn write_events(store: &Store, page: &[SessionView]) -> Result<Reader, Failure> {
    for some in groups(page) {
        let reader = match some {
            [long] if events(long) > EVENTS_AT_A_TIME => write_long(store, &long.session_id).await?,
            some => write_short(store, some).await?,
        };
        if reader == Reader::Left {
            return Ok(reader);
        }
    }
    Ok(Reader::Reads)
}

fn events(session: &SessionView) -> usize {
    usize::try_from(session.event_count).unwrap_or(usize::MAX)
}

/// Parts of a page that have no more events than fit, or one session.
fn groups(page: &[SessionView]) -> Vec<&[SessionView]> {
    let (mut groups, mut start, mut sum) = (Vec::new(), 0, 0_usize);
    for (index, session) in page.iter().enumerate() {
        if index > start && sum.saturating_add(events(session)) > EVENTS_AT_A_TIME {
            groups.push(&page[start..index]);
            (start, sum) = (index, 0);
        }
        sum = sum.saturating_add(events(session));
    }
    groups.extend((start < page.len()).then(|| &page[start..]));
    groups
}

async fn write_short(store: &Store, sessions: &[SessionView]) -> Result<Reader, Failure> {
    let ids: Vec<SessionId> = sessions.iter().map(|session| session.session_id.clone()).collect();
    let mut stored = store.stored_events(&ids).await?;
    let mut lines = String::new();
    for session_id in &ids {
        // It is left out where it was deleted meanwhile, which is no failure, or where one of its events can't be read.
        let Some(mut found) = stored.remove(session_id) else {
            eprintln!("sessionfold: the events of {} are left out, see `verify`", quoted(session_id.as_str()));
            continue;
        };
        found.events.sort_unstable_by_key(Event::position);
        found.events.iter().for_each(|event| write_event(&mut lines, event));
    }
    Ok(print(&lines)?)
}

async fn write_long(store: &Store, session_id: &SessionId) -> Result<Reader, Failure> {
    let mut after = None;
    loop {
        let (events, next) = store.events_in_order(session_id, after, EVENTS_AT_A_TIME).await?;
        let mut lines = String::new();
        events.iter().for_each(|event| write_event(&mut lines, event));
        let reader = print(&lines)?;
        if reader == Reader::Left || next.is_none() {
            return Ok(reader);
        }
        after = next;
    }
}

fn write_event(lines: &mut String, event: &Event) {
    // To a text, nothing can fail.
    let _ = writeln!(lines, "{}", event.to_json());
}

#[cfg(test)]
mod tests {
    use crate::cli::sessions::samples;

    use super::*;

    #[test]
    fn sessions_are_taken_together_for_as_long_as_their_events_fit() {
        let with = |event_count| SessionView { event_count, ..samples::ended() };
        let page = [4_000, 6_000, 1, 20_000, 9_999, 1, 1].map(with);
        let counts: Vec<Vec<i64>> =
            groups(&page).iter().map(|group| group.iter().map(|session| session.event_count).collect()).collect();
        assert_eq!(counts, [vec![4_000, 6_000], vec![1], vec![20_000], vec![9_999, 1], vec![1]]);
        assert!(groups(&[]).is_empty());
    }
}
