//! `sessionfold replay`: the logs folded once more, into the live tables or into a generation.

mod bound;

use std::{num::NonZeroU32, process::ExitCode, time::Duration};

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use crate::{
    config::Config,
    fold::{Aggregators, SessionAggregator, SideAggregators},
    pipeline::Totals,
    service::{
        Begins, Bounds, Replay, ReplayError, ReplayPlan, Service, adopt_generation, caught_up_at, make_generation,
        open_generation, open_store, preflight, sweep_as_of, with_aggregators,
    },
    store::{GenerationName, Publication, ReplayName, Storage, Store},
};

use super::{
    CommandResult, Failure,
    arguments::whole,
    check::first_problem,
    logging,
    progress::{ProgressBar, grouped},
    signals::Signals,
    summary,
};
use bound::{From, To};

/// Fold what the logs hold once more, beside the live consumer
///
/// It joins no group, and commits nothing to Kafka. How far it is stands in the tables, in the transactions that write
/// them: stopped or killed, the same command goes on where it was.
#[derive(Args)]
#[command(after_help = "\
Examples

Fill gaps in the live tables; what is there already stays as it is:
  sessionfold replay
Only one day of one topic:
  sessionfold replay --topic dev.omniclaude.tool.executed.v1 \\
      --from 2026-03-01T00:00:00Z --to 2026-03-02T00:00:00Z
Rebuild everything beside the live tables with another timeout, and look at the difference:
  sessionfold replay --into shorter --set aggregator.inactivity_timeout=30m
  sessionfold generations diff live shorter")]
pub(super) struct ReplayArgs {
    /// Where to begin: beginning, a time, or offsets like TOPIC:PARTITION:OFFSET,… of the partitions to read
    #[arg(long, value_name = "BOUND", default_value = "beginning")]
    from: From,
    /// Where to end, without it: now, a time, or offsets
    #[arg(long, value_name = "BOUND", default_value = "now")]
    to: To,
    /// Only this topic; may be given several times
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Into a generation, which is made if there is none of that name, with the aggregator's settings as they are now
    #[arg(long, value_name = "GENERATION")]
    into: Option<GenerationName>,
    /// What to call it; replays of several names can be under way at once
    #[arg(long, value_name = "NAME", default_value_t)]
    name: ReplayName,
    /// Begin anew, though one of this name was stopped before its end
    #[arg(long)]
    restart: bool,
    /// At most so many records a second
    #[arg(long, value_name = "N", value_parser = whole(NonZeroU32::MIN..))]
    rate: Option<NonZeroU32>,
    /// Read and count, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Publish the changes of status that it finds, as if they had just happened
    #[arg(long)]
    publish_transitions: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(config: Config, args: ReplayArgs, sides: SideAggregators) -> CommandResult {
    logging::start(&config.log)?;
    let live = open_store(&config);
    first_problem(&preflight(&config, &live, false).await)?;
    let target = Target::open(&config, &live, &args).await?;
    let Target { config, store, .. } = &target;
    with_aggregators!(config, sides, |aggregators| {
        if store.is_some() && args.into.is_none() && aggregators.session.depends_on_order() {
            let why = "what it makes of a session depends on the order of arrival; rebuild with --into";
            return Err(Failure::Usage(anyhow!(
                "aggregator {} can't be replayed in place: {why}",
                config.aggregator.kind
            )));
        }
        replay(&target, &live, &args, aggregators).await
    })
}

/// Where it is folded into.
struct Target {
    config: Config,
    /// None where a dry run would have to make it first.
    store: Option<Store>,
}

impl Target {
    async fn open(config: &Config, live: &Store, args: &ReplayArgs) -> Result<Self, Failure> {
        let Some(name) = &args.into else {
            let (config, store) = adopt_generation(config.clone(), live).await?;
            return Ok(Self { config, store: Some(store) });
        };
        if let Some(other) = open_generation(config, live, name).await? {
            if other.config.aggregator != config.aggregator {
                eprintln!("generation {name} keeps the settings of [aggregator] that it was made with");
            }
            return Ok(Self { config: other.config, store: Some(other.store) });
        }
        if args.dry_run {
            return Ok(Self { config: config.clone(), store: None });
        }
        let made = make_generation(config, live, name).await?;
        eprintln!("generation {name} was made, in schema {}", made.config.postgres.schema);
        Ok(Self { config: made.config, store: Some(made.store) })
    }
}

async fn replay<A: SessionAggregator + Clone>(
    target: &Target,
    live: &Store,
    args: &ReplayArgs,
    aggregators: Aggregators<A>,
) -> CommandResult {
    // Before the ends of the logs are asked for: what is read to them holds all that was there at that instant.
    let caught_up_at = caught_up_at(&target.config, live).await?;
    let (bounds, plan) = plan(target, args).await?;
    say_plan(&plan, target, args);
    let publication = if args.publish_transitions { Publication::Published } else { Publication::Withheld };
    let replay = Replay { config: &target.config, rate: args.rate, publication };
    let session = aggregators.session.clone();
    let Some(store) = target.store.as_ref().filter(|_| !args.dry_run) else {
        let service = replay.count(target.store.clone(), aggregators, &plan).map_err(at_fault)?;
        let Some(outcome) = watch(service, &plan, target).await? else {
            return Err(anyhow!("stopped before its end; nothing was written").into());
        };
        refuse_halted(&outcome)?;
        report(args, &plan, &outcome, None)?;
        return Ok(ExitCode::SUCCESS);
    };
    store.incomplete_aggregators(&aggregators).await?;
    let service = replay.start(store, aggregators, &plan).await.map_err(at_fault)?;
    let Some(outcome) = watch(service, &plan, target).await? else { return Err(stopped()) };
    refuse_halted(&outcome)?;
    store.finish_replay(&plan.name).await?;
    let timed_out = match &args.into {
        // Where it went on with a plan of before, that may have ended before this instant.
        Some(_) if bounds.reach_all_ends() && plan.begins != Begins::WhereItStopped => match caught_up_at {
            Some(instant) => sweep_as_of(&target.config, store, &session, instant).await?,
            None => None,
        },
        _ => None,
    };
    report(args, &plan, &outcome, timed_out)?;
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

fn refuse_halted(outcome: &ReplayOutcome) -> Result<(), Failure> {
    match outcome.totals.halted {
        0 => Ok(()),
        halted => Err(anyhow!(
            "{halted} partition(s) no longer hold what was to be read, see above; --restart reads what there is"
        )
        .into()),
    }
}

async fn plan(target: &Target, args: &ReplayArgs) -> Result<(Bounds, ReplayPlan), Failure> {
    let topics = (!args.topic.is_empty()).then(|| args.topic.clone());
    let bounds = Bounds { from: args.from.clone().into(), to: args.to.clone().into(), topics };
    let known = match &target.store {
        Some(store) if !args.restart && !args.dry_run => store.replay(&args.name).await?,
        _ => None,
    };
    let stretches = tokio::task::block_in_place(|| bounds.locate(&target.config.kafka)).map_err(at_fault)?;
    // A generation is brought up to date; the live tables are read once more from the beginning.
    let plan = ReplayPlan::new(args.name.clone(), &bounds, stretches, known, args.into.is_some()).map_err(at_fault)?;
    Ok((bounds, plan))
}

fn at_fault(error: ReplayError) -> Failure {
    match error {
        ReplayError::BeyondTheLog { .. } | ReplayError::ReadsSomethingElse { .. } => Failure::Usage(error.into()),
        ReplayError::UnknownTopic(_)
        | ReplayError::UnknownPartition(_)
        | ReplayError::Stream(_)
        | ReplayError::Store(_) => Failure::Runtime(error.into()),
    }
}

fn stopped() -> Failure {
    anyhow!("stopped before its end; what was read is committed, and the same command goes on from there").into()
}

/// On standard error: the output may be read by a program.
fn say_plan(plan: &ReplayPlan, target: &Target, args: &ReplayArgs) {
    let what = match plan.begins {
        _ if args.dry_run => "counting only",
        Begins::Anew => "beginning",
        Begins::WhereItStopped => "going on where it stopped",
        Begins::WhereItEnded => "going on where it ended",
    };
    eprintln!(
        "replay {} into schema {}: {what}, {} offsets of {} partitions to read",
        plan.name,
        target.config.postgres.schema,
        grouped(plan.left()),
        plan.partitions.iter().filter(|partition| partition.left() > 0).count()
    );
    for (partition, gone) in &plan.gone {
        eprintln!("the log of {partition} no longer has {} of the offsets that were asked for", grouped(*gone));
    }
}

struct ReplayOutcome {
    totals: Totals,
    discarded: u64,
    time: Duration,
}

/// Runs to the end, with a line that says how far it is; none where a signal ended it.
async fn watch<A: SessionAggregator, S: Storage<A>>(
    service: Service<A, S>,
    plan: &ReplayPlan,
    target: &Target,
) -> Result<Option<ReplayOutcome>, Failure> {
    let mut signals = Signals::new()?;
    let monitor = service.monitor();
    let bar = ProgressBar::start(monitor.clone(), plan.left());
    let mut running = std::pin::pin!(service.run());
    let totals = tokio::select! {
        result = &mut running => result.map_err(anyhow::Error::from)?,
        () = signals.received() => {
            monitor.stopper.stop();
            let _ = tokio::time::timeout(target.config.shutdown.timeout, &mut running).await;
            return Ok(None);
        }
    };
    drop(bar);
    Ok(Some(ReplayOutcome { totals, discarded: monitor.progress.discarded(), time: monitor.working_time() }))
}

fn report(
    args: &ReplayArgs,
    plan: &ReplayPlan,
    outcome: &ReplayOutcome,
    timed_out: Option<usize>,
) -> Result<(), Failure> {
    let ReplayOutcome { totals, discarded, time } = outcome;
    if !args.json {
        summary::print(totals, *discarded, *time);
        if let Some(timed_out) = timed_out {
            summary::line("sessions timed out", timed_out as u64);
        }
        if plan.read_before() > 0 {
            outln!(
                "this run's; those before it had read {} of the {} offsets",
                grouped(plan.read_before()),
                grouped(plan.read_before() + plan.left())
            );
        }
        return Ok(());
    }
    let partitions = plan.partitions.iter().map(|one| {
        json!({
            "topic": &*one.partition.topic,
            "partition": one.partition.partition,
            "from_offset": one.next.get(),
            "to_offset": one.to.get(),
        })
    });
    let mut document = json!({
        "name": plan.name.as_str(),
        "generation": args.into.as_ref().map(GenerationName::as_str),
        "dry_run": args.dry_run,
        "sessions_timed_out": timed_out,
        "offsets_gone": plan.gone.iter().map(|(_, gone)| gone).sum::<u64>(),
        "offsets_read_before": plan.read_before(),
        "partitions": partitions.collect::<Vec<_>>(),
    });
    if let Some(members) = document.as_object_mut() {
        members.extend(summary::as_json(totals, *time));
    }
    outln!("{document}");
    Ok(())
}
