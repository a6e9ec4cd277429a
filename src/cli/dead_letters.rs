//! `sessionfold dead-letters`: what became of records that are no good events, and the decision what becomes of them.

mod discard;
mod filter;
mod json;
mod list;
mod redrive;
mod show;
mod value;

use clap::{Args, Subcommand};

use crate::{
    config::Config,
    fold::SideAggregators,
    service::{adopt_generation, open_store, preflight_database, with_aggregators},
    store::LetterCount,
};

use super::{CommandResult, check::first_problem, confirm::ask, progress::grouped};

#[derive(Args)]
#[command(after_help = "Example: sessionfold dead-letters list --reason schema")]
pub(super) struct DeadLettersArgs {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Subcommand)]
enum DeadLettersCommand {
    /// List dead letters, the youngest first
    #[command(after_help = "Example: sessionfold dead-letters list --since 2026-03-01T00:00:00Z")]
    List(list::ListArgs),
    /// Show one with its record, the member at fault marked
    ///
    /// Secrets of known forms are replaced, as everywhere else; --raw shows the record as it was sent.
    #[command(after_help = "Example: sessionfold dead-letters show 0195f1d2-7f3c-7c1e-9d5a-3b1f0c6e2a47")]
    Show(show::ShowArgs),
    /// Send open ones through decoding and folding again
    ///
    /// With the present configuration and version. Those whose events are taken become `redriven`; the others stay open,
    /// with the reason of this attempt. May run beside the service, and more than once: nothing counts twice.
    #[command(after_help = "Example: sessionfold dead-letters redrive --reason too_large --dry-run")]
    Redrive(redrive::RedriveArgs),
    /// Put open ones away, or take them back
    #[command(after_help = "Example: sessionfold dead-letters discard --reason unknown_event_type")]
    Discard(discard::DiscardArgs),
}

pub(super) async fn execute(config: Config, args: DeadLettersArgs, sides: SideAggregators) -> CommandResult {
    let store = open_store(&config);
    first_problem(&preflight_database(&store, false).await)?;
    let (config, store) = adopt_generation(config, &store).await?;
    let result = match args.command {
        DeadLettersCommand::List(args) => list::execute(&store, args).await,
        DeadLettersCommand::Show(args) => show::execute(&store, args).await,
        DeadLettersCommand::Discard(args) => discard::execute(&store, args).await,
        DeadLettersCommand::Redrive(args) => {
            with_aggregators!(config, sides, |aggregators| redrive::execute(&config, &store, &aggregators, args).await)
        }
    };
    store.close().await;
    result
}

/// `1,234 dead letters (schema 1,200, too_large 34)`.
fn in_words(counts: &[LetterCount]) -> String {
    let sum: u64 = counts.iter().map(|count| count.letters).sum();
    let reasons: Vec<String> =
        counts.iter().map(|count| format!("{} {}", count.reason, grouped(count.letters))).collect();
    match sum {
        0 => "no dead letters".to_owned(),
        1 => format!("1 dead letter ({})", counts[0].reason),
        _ => format!("{} dead letters ({})", grouped(sum), reasons.join(", ")),
    }
}
