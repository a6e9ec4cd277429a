//! `sessionfold dead-letters discard`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        CommandResult,
        progress::{ProgressLine, grouped},
    },
    store::{Discarding, Store},
};

use super::{ask, filter::FilterArgs, in_words};

#[derive(Args)]
pub(super) struct DiscardArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Open discarded ones again
    #[arg(long)]
    undo: bool,
    /// Only tell how many there are
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(store: &Store, args: DiscardArgs) -> CommandResult {
    let discarding = if args.undo { Discarding::Undo } else { Discarding::Discard };
    let filter = args.filter.filter();
    let (counts, last) = store.count_dead_letters(&filter.of(discarding.from()), u32::MAX).await?;
    let (what, done) = match discarding {
        Discarding::Discard => ("open dead letters are discarded; --undo takes it back", "discarded"),
        Discarding::Undo => ("discarded dead letters are open again", "opened"),
    };
    eprintln!("{what}: {}", in_words(&counts));
    let selected: u64 = counts.iter().map(|count| count.letters).sum();
    let changed = match last {
        Some(last) if !args.dry_run => {
            ask(args.yes)?;
            let mut line = ProgressLine::new();
            let progress = |changed| line.say(|| format!("{} of {}", grouped(changed), grouped(selected)));
            store.discard_dead_letters(&filter, last, discarding, progress).await?
        }
        _ => 0,
    };
    if args.json {
        outln!("{}", json!({"selected": selected, done: changed, "dry_run": args.dry_run}));
    } else if args.dry_run {
        outln!("nothing was changed");
    } else {
        outln!("{done}: {}", grouped(changed));
    }
    Ok(ExitCode::SUCCESS)
}
