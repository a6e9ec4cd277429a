//! `sessionfold run`: the service itself.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    config::Config,
    fold::{Aggregators, SessionAggregator, SideAggregators},
    pipeline::{PipelineError, Totals},
    serve::{Listener, Observed},
    service::{
        Configured, Monitor, Publisher, Retention, Service, Sweeper, adopt_generation, open_store, preflight, renewed,
    },
    store::{Store, StoreError},
    stream::Until,
};
use anyhow::{Context, anyhow};
use clap::Args;

use super::{
    CommandResult, Failure, aggregators::with_aggregators, check::first_problem, logging, progress::per_second,
    signals::Signals, summary,
};

#[derive(Args)]
pub(super) struct RunArgs {
    /// Stop when the end of every assigned partition was reached and everything before it is committed
    #[arg(long)]
    drain: bool,
}

/// How often the log tells how far the run is.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

pub(super) async fn execute(config: Config, args: RunArgs, sides: SideAggregators) -> CommandResult {
    logging::start(&config.log)?;
    let mut signals = Signals::new()?;
    let listener = Listening::begin(&config).await?;
    let store = open_store(&config);
    tokio::select! {
        prepared = prepare(&config, &store) => prepared?,
        () = signals.received() => return Ok(ExitCode::SUCCESS),
    }
    // Once more for each generation with an aggregator of another kind that is promoted meanwhile.
    loop {
        let (adopted, bound) = adopt_generation(config.clone(), &store).await?;
        let sides = sides.clone();
        let result = with_aggregators!(adopted, sides, |aggregators| {
            run(&config, &args, bound.clone(), aggregators, listener.as_ref(), &mut signals).await
        });
        if result.is_err() && bound.is_outdated().await {
            tracing::info!("a generation of another aggregator was promoted: starting again with it");
            continue;
        }
        store.close().await;
        return result;
    }
}

async fn run<A: Configured>(
    config: &Config,
    args: &RunArgs,
    store: Store,
    aggregators: Aggregators<A>,
    listening: Option<&Listening>,
    signals: &mut Signals,
) -> CommandResult {
    say_what_is_incomplete(&store, &aggregators).await?;
    let until = if args.drain { Until::Drained } else { Until::Stopped };
    let (session, sides) = (aggregators.session.clone(), aggregators.sides.clone());
    let service = Service::start(config, store.clone(), aggregators, until)?;
    let monitor = service.monitor();
    let mut sweeper = Sweeper::new(config, store.clone(), session, Arc::clone(&monitor.progress));
    let retention = Retention::new(config, store.clone());
    let publisher = Publisher::new(config, store.clone());
    let serving = match listening {
        Some(listening) => {
            let parts =
                [("sweep", sweeper.report()), ("retention", retention.report()), ("outbox", publisher.report())];
            // A drain has none beside it.
            let parts = if args.drain { Vec::new() } else { parts.to_vec() };
            let outbox = (!args.drain).then(|| publisher.counts());
            let (monitor, started_at) = (monitor.clone(), listening.since);
            Some(listening.listener.serve(Observed::new(config, monitor, store.clone(), parts, outbox, started_at)?))
        }
        None => None,
    };
    let beside = async {
        if args.drain {
            // A drain reads what was, and has no now to ask about. It ends when all is read, not when all is published,
            // and leaves that to who runs.
            return std::future::pending().await;
        }
        tokio::select! {
            error = sweeper.run() => error,
            error = retention.run() => error,
            error = publisher.run() => error,
        }
    };
    let renew = async |bound: &Store| renewed(config, bound, &sides).await;
    let running = service.run_renewed(renew);
    tracing::info!(group = config.kafka.group_id, topics = config.kafka.topics.len(), "started");
    let mut reporter = Reporter { monitor: monitor.clone(), store: store.clone(), told: Totals::default() };
    let outcome = until_stopped(running, beside, config, &mut reporter, signals).await?;
    reporter.report();
    if let Some(serving) = serving {
        serving.stop().await;
    }
    if args.drain
        && let Some(totals) = outcome
    {
        summary::print(&totals, monitor.progress.discarded(), monitor.working_time());
        if totals.halted > 0 {
            return Err(anyhow!("{} partition(s) halted, see above; the others were drained", totals.halted).into());
        }
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The socket, which outlives each service that answers on it.
struct Listening {
    listener: Listener,
    since: SystemTime,
}

impl Listening {
    /// Binds, so that a start that can't ends before anything else has begun.
    async fn begin(config: &Config) -> Result<Option<Self>, Failure> {
        let bound = Listener::bind(&config.http).await;
        let listen = config.http.listen.map(|address| address.to_string()).unwrap_or_default();
        let bound = bound.with_context(|| format!("http.listen: {listen} can't be listened on"))?;
        let Some(listener) = bound else { return Ok(None) };
        tracing::info!(address = %listener.address()?, "listening for HTTP");
        Ok(Some(Self { listener, since: SystemTime::now() }))
    }
}

/// Checks that everything is there, and applies migrations unless told not to.
async fn prepare(config: &Config, store: &Store) -> Result<(), Failure> {
    first_problem(&preflight(config, store, config.postgres.migrate).await)?;
    if config.postgres.migrate {
        let migrations = store.migrate().await.context("the migrations could not be applied")?;
        if migrations.applied > 0 {
            tracing::info!(applied = migrations.applied, schema = store.schema(), "migrations applied");
        }
    }
    Ok(())
}

async fn say_what_is_incomplete<A: SessionAggregator>(
    store: &Store,
    aggregators: &Aggregators<A>,
) -> Result<(), Failure> {
    for incomplete in store.incomplete_aggregators(aggregators).await? {
        tracing::warn!("{incomplete}; `sessionfold verify --repair` folds all again");
    }
    Ok(())
}

/// Runs the service, and what works beside it, until it ends by itself or a signal ends it. None where its end was not
/// waited for.
async fn until_stopped(
    running: impl Future<Output = Result<Totals, PipelineError>>,
    beside: impl Future<Output = StoreError>,
    config: &Config,
    reporter: &mut Reporter,
    signals: &mut Signals,
) -> Result<Option<Totals>, Failure> {
    let stopper = reporter.monitor.stopper.clone();
    let mut running = std::pin::pin!(running);
    let mut beside = Box::pin(beside);
    let mut reports = tokio::time::interval(REPORT_INTERVAL);
    reports.tick().await;
    loop {
        tokio::select! {
            result = &mut running => return Ok(Some(result?)),
            error = &mut beside => return Err(error.into()),
            _ = reports.tick() => reporter.report(),
            () = signals.received() => break,
        }
    }
    tracing::info!("stopping: committing what was read, leaving the group");
    // A sweep or a deletion under way is rolled back: left as it is, its locks would hold up the last batch.
    drop(beside);
    stopper.stop();
    tokio::select! {
        result = &mut running => Ok(Some(result?)),
        () = tokio::time::sleep(config.shutdown.timeout) => {
            tracing::warn!("not everything that was read could be committed in time; it will be read again");
            Ok(None)
        }
        () = signals.received() => Ok(None),
    }
}

/// Tells how far the run is.
struct Reporter {
    monitor: Monitor,
    store: Store,
    told: Totals,
}

impl Reporter {
    /// Also tells of dead letters since the report before.
    fn report(&mut self) {
        let totals = self.monitor.counts.totals();
        let breaker = self.store.breaker();
        if totals.dead_letters() > self.told.dead_letters() {
            let new = totals.dead_letters() - self.told.dead_letters();
            tracing::warn!(new, in_all = totals.dead_letter_reasons(), "records were set aside as dead letters");
        }
        tracing::info!(
            read = self.monitor.progress.read(),
            applied = totals.applied,
            duplicates = totals.duplicates,
            rejected = totals.rejected(),
            ignored = totals.ignored,
            dead_letters = totals.dead_letters(),
            discarded = self.monitor.progress.discarded(),
            conflicts = totals.conflicts,
            fences = totals.fences,
            lag = self.monitor.lag(),
            halted = totals.halted,
            paused = self.monitor.progress.is_paused(),
            breaker = %breaker.state,
            openings = breaker.openings,
            "progress"
        );
        report_transactions(&self.store);
        self.told = totals;
    }
}

fn report_transactions(store: &Store) {
    for (name, statistics) in store.statistics() {
        let tries = statistics.commits + statistics.retries + statistics.failures;
        tracing::debug!(
            transaction = name,
            commits = statistics.commits,
            retries = statistics.retries,
            failures = statistics.failures,
            seconds = statistics.time.as_secs_f64(),
            per_second = per_second(tries, statistics.time),
            "transactions so far"
        );
    }
}
