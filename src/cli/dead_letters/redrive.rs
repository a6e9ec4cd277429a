//! `sessionfold dead-letters redrive`.

use std::{collections::BTreeMap, process::ExitCode};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    cli::{
        CommandResult, Failure,
        arguments::whole,
        progress::{ProgressLine, grouped},
    },
    config::Config,
    event::Reason,
    fold::{Aggregators, SessionAggregator},
    pipeline::{Decision, Redrive, Redriven},
    service::decoder,
    store::{LetterCount, LetterStatus, RedriveScope, Store},
};

use super::{ask, filter::FilterArgs, in_words};

#[derive(Args)]
pub(super) struct RedriveArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Pass over those that were tried so often
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole(1_u32..))]
    max_attempts: u32,
    /// Only decode, and tell what would be accepted
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute<A: SessionAggregator>(
    config: &Config,
    store: &Store,
    aggregators: &Aggregators<A>,
    args: RedriveArgs,
) -> CommandResult {
    let filter = args.filter.filter();
    let (counts, last) = store.count_dead_letters(&filter.of(LetterStatus::Open), args.max_attempts).await?;
    eprintln!("open, to be sent through decoding and folding again: {}", in_words(&counts));
    let exhausted: u64 = counts.iter().map(|count| count.exhausted).sum();
    if exhausted > 0 {
        let (count, most) = (grouped(exhausted), args.max_attempts);
        eprintln!("{count} of them are passed over, since they were tried {most} times or more; see --max-attempts");
    }
    let Some(last) = last else {
        report(&Redriven::default(), args.json);
        return Ok(ExitCode::SUCCESS);
    };
    let scope = RedriveScope {
        filter,
        last,
        max_attempts: args.max_attempts,
        max_letters: u32::try_from(config.batch.max_events.get()).unwrap_or(u32::MAX),
        max_bytes: config.batch.max_bytes.get() as u64,
    };
    let redrive = Redrive { store, aggregators, decoder: &decoder(config), scope: &scope };
    if args.dry_run {
        report_preview(&redrive.preview().await?, &counts, args.json);
        return Ok(ExitCode::SUCCESS);
    }
    ask(args.yes)?;
    for incomplete in store.incomplete_aggregators(aggregators).await? {
        eprintln!("{incomplete}; `sessionfold verify --repair` folds all again");
    }
    let redriven = run(&redrive).await?;
    report(&redriven, args.json);
    Ok(ExitCode::SUCCESS)
}

async fn run<A: SessionAggregator>(redrive: &Redrive<'_, A>) -> Result<Redriven, Failure> {
    let mut line = ProgressLine::new();
    let progress = |redriven: &Redriven| line.say(|| format!("{} dead letters", grouped(redriven.selected)));
    Ok(redrive.run(progress).await?)
}

/// The reasons for which letters stay open, with how many.
fn still_refused(redriven: &Redriven) -> BTreeMap<&'static str, u64> {
    let mut reasons: BTreeMap<&'static str, u64> =
        redriven.totals.dead_letters_by_reason().map(|(reason, count)| (reason.as_str(), count)).collect();
    if redriven.totals.rejected() > 0 {
        reasons.insert(Reason::Rejected.as_str(), redriven.totals.rejected());
    }
    reasons
}

/// What became of them; the indented lines add up to the first.
fn report(redriven: &Redriven, as_json: bool) {
    let Redriven { selected, totals, passed_over, settled_elsewhere } = redriven;
    let reasons = still_refused(redriven);
    if as_json {
        let report = json!({
            "selected": selected, "applied": totals.applied, "duplicates": totals.duplicates,
            "ignored": totals.ignored, "still_refused": reasons, "passed_over": passed_over,
            "settled_elsewhere": settled_elsewhere,
        });
        return outln!("{report}");
    }
    let line = |what: &str, count: u64| outln!("{what:<32}{:>12}", grouped(count));
    line("selected", *selected);
    line("  applied", totals.applied);
    line("  duplicates", totals.duplicates);
    line("  ignored", totals.ignored);
    line("  still refused", redriven.still_refused());
    for (reason, count) in reasons {
        line(&format!("    {reason}"), count);
    }
    line("  passed over", *passed_over);
    if *settled_elsewhere > 0 {
        line("  dealt with by somebody else", *settled_elsewhere);
    }
}

/// What decoding says, by the reason that the letters have now.
fn report_preview(decisions: &BTreeMap<(String, Decision), u64>, counts: &[LetterCount], as_json: bool) {
    let lines_of = |reason: &str| -> Vec<(String, u64)> {
        let of_reason = decisions.iter().filter(|((of, _), _)| of == reason);
        let mut lines: Vec<_> = of_reason.map(|((_, decision), count)| (in_word(*decision), *count)).collect();
        let exhausted = counts.iter().filter(|count| count.reason == reason).map(|count| count.exhausted).sum();
        if exhausted > 0 {
            lines.push(("passed over".to_owned(), exhausted));
        }
        lines
    };
    if as_json {
        let reasons: Map<String, Value> = counts
            .iter()
            .map(|count| {
                let lines = lines_of(&count.reason).into_iter().map(|(what, count)| (what, count.into()));
                (count.reason.clone(), Value::Object(lines.collect()))
            })
            .collect();
        return outln!("{}", json!({"dry_run": true, "reasons": reasons}));
    }
    for count in counts {
        outln!("{:<38}{:>12}", count.reason, grouped(count.letters));
        for (what, letters) in lines_of(&count.reason) {
            outln!("  {what:<36}{:>12}", grouped(letters));
        }
    }
    outln!("nothing was changed; the aggregator and Postgres were not asked");
}

fn in_word(decision: Decision) -> String {
    match decision {
        Decision::Accepted => "would be accepted".to_owned(),
        Decision::Ignored => "would be ignored".to_owned(),
        Decision::Refused(reason) => format!("refused: {}", reason.as_str()),
    }
}
