//! `sessionfold run`: the service itself.

use std::{process::ExitCode, sync::Arc, time::Duration};

use crate::{
    config::Config,
    fold::{Aggregators, SessionAggregator, SideAggregators},
    pipeline::Totals,
    service::{Monitor, Retention, Service, Sweeper, open_store, preflight},
    store::{Store, StoreError},
    stream::Until,
};
use anyhow::{Context, anyhow};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    CommandResult, Failure, aggregators::with_aggregators, check::first_problem, logging, progress::per_second, summary,
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
    with_aggregators!(config, sides, |aggregators| run(config, args, aggregators).await)
}

async fn run<A: SessionAggregator + Clone>(
    config: Config,
    args: RunArgs,
    aggregators: Aggregators<A>,
) -> CommandResult {
    logging::start(&config.log)?;
    let mut signals = Signals::new()?;
    let store = open_store(&config);
    tokio::select! {
        prepared = prepare(&config, &store, &aggregators) => prepared?,
        () = signals.received() => return Ok(ExitCode::SUCCESS),
    }
    let until = if args.drain { Until::Drained } else { Until::Stopped };
    let session = aggregators.session.clone();
    let service = Service::start(&config, store.clone(), aggregators, until)?;
    let monitor = service.monitor();
    let sweeper = Sweeper::new(&config, store.clone(), session, Arc::clone(&monitor.progress));
    let retention = Retention::new(&config, store.clone());
    let beside = async {
        if args.drain {
            // A drain reads what was, and has no now to ask about.
            return std::future::pending().await;
        }
        tokio::select! {
            error = sweeper.run() => error,
            error = retention.run() => error,
        }
    };
    tracing::info!(group = config.kafka.group_id, topics = config.kafka.topics.len(), "started");
    let mut reporter = Reporter { monitor: monitor.clone(), store: store.clone(), told: Totals::default() };
    let outcome = until_stopped(service, beside, &config, &mut reporter, &mut signals).await?;
    reporter.report();
    store.close().await;
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

/// What asks the program to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Checks that everything is there, and applies migrations unless told not to.
async fn prepare<A: SessionAggregator>(
    config: &Config,
    store: &Store,
    aggregators: &Aggregators<A>,
) -> Result<(), Failure> {
    first_problem(&preflight(config, store, config.postgres.migrate).await)?;
    if config.postgres.migrate {
        let migrations = store.migrate().await.context("the migrations could not be applied")?;
        if migrations.applied > 0 {
            tracing::info!(applied = migrations.applied, schema = store.schema(), "migrations applied");
        }
    }
    for incomplete in store.incomplete_aggregators(aggregators).await? {
        tracing::warn!("{incomplete}; `sessionfold verify --repair` folds all again");
    }
    if config.http.listen.is_some() {
        tracing::warn!("http.listen is set, but this version doesn't listen yet");
    }
    Ok(())
}

/// Runs the service, and what works beside it, until it ends by itself or a signal ends it. None where its end was not waited for.
async fn until_stopped<A: SessionAggregator>(
    service: Service<A>,
    beside: impl Future<Output = StoreError>,
    config: &Config,
    reporter: &mut Reporter,
    signals: &mut Signals,
) -> Result<Option<Totals>, Failure> {
    let stopper = service.monitor().stopper;
    let mut running = std::pin::pin!(service.run());
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
