//! `sessionfold verify`: whether the tables hold what they should.

mod table;

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use crate::{
    config::Config,
    event::{EventTime, SessionId},
    fold::{Aggregators, SessionAggregator, SideAggregators},
    service::{adopt_generation, decoder, open_store, preflight_database, with_aggregators},
    store::{Selection, Store},
    verify::{Report, Topics, Verification, verify_topics},
};

use super::{
    CommandResult, Failure,
    arguments::whole,
    check::first_problem,
    confirm::ask,
    progress::{ProgressLine, grouped},
};

/// Compare what is stored with the fold of the stored events
///
/// Folds the stored events of each session again and compares the result with the session's row, field by field.
/// Exit code 0: all equal. 1: something differs.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sessionfold verify --topics
  sessionfold verify --session checkout --repair")]
pub(super) struct VerifyArgs {
    /// Only this session; may be given several times
    #[arg(long, value_name = "ID", value_parser = SessionId::parse)]
    session: Vec<SessionId>,
    /// Only sessions whose last event is not before, like 2026-03-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = EventTime::parse)]
    from: Option<EventTime>,
    /// Only sessions whose last event is before
    #[arg(long, value_name = "TIME", value_parser = EventTime::parse)]
    to: Option<EventTime>,
    /// Compare the stored events with those in the topics too, up to the checkpoints
    ///
    /// Reads the topics from their beginning, without the group and without committing anything. It keeps about a
    /// hundred bytes of memory for each event.
    #[arg(long, conflicts_with_all = ["from", "to"])]
    topics: bool,
    /// Write the sessions that differ anew from their stored events
    ///
    /// Sessions that the service writes meanwhile, and those without stored events, are left as they are.
    #[arg(long, conflicts_with = "topics")]
    repair: bool,
    /// Don't ask before repairing
    #[arg(long, requires = "repair")]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Most differences to show; all are counted
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole(0_usize..))]
    limit: usize,
}

pub(super) async fn execute(config: Config, args: VerifyArgs, sides: SideAggregators) -> CommandResult {
    let store = open_store(&config);
    first_problem(&preflight_database(&store, false).await)?;
    let (config, store) = adopt_generation(config, &store).await?;
    with_aggregators!(config, sides, |aggregators| verify(config, store, args, aggregators).await)
}

async fn verify<A: SessionAggregator>(
    config: Config,
    store: Store,
    args: VerifyArgs,
    aggregators: Aggregators<A>,
) -> CommandResult {
    if args.topics && aggregators.session.depends_on_order() {
        let what = "what it makes of a session depends on the order of arrival, which the topics don't tell";
        return Err(Failure::Usage(anyhow!("--topics is not for aggregator {}: {what}", config.aggregator.kind)));
    }
    if args.repair {
        confirm_repair(&store, &aggregators, &args)?;
    }
    let report = look(&config, &store, &aggregators, &args).await;
    store.close().await;
    let report = report?;
    if args.json {
        outln!("{}", serde_json::to_string(&report)?);
    } else {
        table::print(&report);
    }
    Ok(ExitCode::from(u8::from(!report.is_equal_now())))
}

/// Says on standard error what it will do, and asks unless told not to.
fn confirm_repair<A: SessionAggregator>(
    store: &Store,
    aggregators: &Aggregators<A>,
    args: &VerifyArgs,
) -> Result<(), Failure> {
    let names = std::iter::once(aggregators.session.id()).chain(aggregators.sides.ids());
    let names: Vec<String> = names.map(|id| id.to_string()).collect();
    eprintln!(
        "sessions in schema {} that differ from their stored events are written anew, as {} folds them",
        store.schema(),
        names.join(", ")
    );
    ask(args.yes)?;
    Ok(())
}

async fn look<A: SessionAggregator>(
    config: &Config,
    store: &Store,
    aggregators: &Aggregators<A>,
    args: &VerifyArgs,
) -> Result<Report, Failure> {
    let selection = Selection { sessions: args.session.clone(), from: args.from, to: args.to };
    let (mut report, mut line) = (Report::new(args.limit), ProgressLine::new());
    let progress = |report: &Report| line.say(|| progress_text(report));
    let verification = Verification { store, aggregators, selection: &selection };
    if args.repair {
        verification.repair(&mut report, progress).await?;
    } else {
        verification.compare(&mut report, progress).await?;
    }
    if args.topics {
        let topics = Topics { kafka: &config.kafka, decoder: decoder(config) };
        let progress = |records| line.say(|| format!("{} records of the topics", grouped(records)));
        verify_topics(store, &topics, &selection.sessions, &mut report, progress).await?;
    }
    drop(line);
    if report.sessions == 0 && report.is_equal() && !selection.sessions.is_empty() {
        return Err(anyhow!("nothing is stored of what was asked for").into());
    }
    Ok(report)
}

fn progress_text(report: &Report) -> String {
    let (sessions, events) = (grouped(report.sessions), grouped(report.events));
    format!("{sessions} sessions, {events} events, {} differences so far", grouped(report.difference_count))
}
