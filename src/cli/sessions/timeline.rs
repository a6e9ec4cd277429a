//! `sessionfold sessions timeline`.

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::{
        CommandResult,
        terminal::{Terminal, print},
    },
    event::SessionId,
    store::{PageSize, Store, TimelineCursor},
};

use super::{drawing::draw, list::page_size, unknown};

#[derive(Args)]
pub(super) struct TimelineArgs {
    /// The session to draw
    #[arg(value_name = "SESSION", value_parser = SessionId::parse)]
    session: SessionId,
    /// How many entries a page has, 1 to 1000
    #[arg(long, value_name = "N", default_value = "200", value_parser = page_size)]
    limit: PageSize,
    /// The page behind the one that ended with this text
    #[arg(long, value_name = "POSITION")]
    after: Option<TimelineCursor>,
    /// Print one JSON object: the session, the entries, and the next page's position
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(store: &Store, args: TimelineArgs) -> CommandResult {
    let found = store.timeline(&args.session, args.after, args.limit).await?;
    let Some(timeline) = found else { return Err(unknown(store, &args.session).await) };
    let text = if args.json {
        format!("{}\n", timeline.to_json())
    } else {
        draw(&timeline, args.after.map(TimelineCursor::at), Terminal::of_stdout())
    };
    let _ = print(&text)?;
    Ok(ExitCode::SUCCESS)
}
