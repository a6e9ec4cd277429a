//! `sessionfold run`: the service itself.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use sessionfold::{
    config::Config,
    pipeline::Totals,
    service::{Monitor, Service, open_store, preflight},
    store::Store,
    stream::Until,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{CommandResult, Failure, check::first_problem, logging, progress::per_second, summary};

#[derive(Args)]
pub(super) struct RunArgs {
    /// Stop when the end of every assigned partition was reached and everything before it is committed
    #[arg(long)]
    drain: bool,
}

/// How often the log tells how far the run is.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

pub(super) async fn execute(config: Config, args: RunArgs) -> CommandResult {
    logging::start(&config.log)?;
    let store = open_store(&config);
    first_problem(&preflight(&config, &store, config.postgres.migrate).await)?;
    if config.postgres.migrate {
        let migrations = store.migrate().await.context("the migrations could not be applied")?;
        if migrations.applied > 0 {
            tracing::info!(applied = migrations.applied, schema = store.schema(), "migrations applied");
        }
    }
    if config.http.listen.is_some() {
        tracing::warn!("http.listen is set, but this version doesn't listen yet");
    }
    let until = if args.drain { Until::Drained } else { Until::Stopped };
    let service = Service::start(&config, store.clone(), until)?;
    let monitor = service.monitor();
    tracing::info!(group = config.kafka.group_id, topics = config.kafka.topics.len(), "started");
    let outcome = until_stopped(service, &config, &store).await?;
    report(&store);
    store.close().await;
    if args.drain
        && let Some(totals) = outcome
    {
        summary::print(&totals, monitor.progress.discarded(), monitor.working_time());
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Runs the service until it ends by itself or a signal ends it. None where its end was not waited for.
async fn until_stopped(service: Service, config: &Config, store: &Store) -> Result<Option<Totals>, Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let monitor = service.monitor();
    let running = service.run();
    let mut running = std::pin::pin!(running);
    let mut reports = tokio::time::interval(REPORT_INTERVAL);
    reports.tick().await;
    loop {
        tokio::select! {
            result = &mut running => return Ok(Some(result?)),
            _ = reports.tick() => report_progress(&monitor, store),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping: committing what was read, leaving the group");
    monitor.stopper.stop();
    tokio::select! {
        result = &mut running => Ok(Some(result?)),
        () = tokio::time::sleep(config.shutdown.timeout) => {
            tracing::warn!("not everything that was read could be committed in time; it will be read again");
            Ok(None)
        }
        _ = terminate.recv() => Ok(None),
        _ = interrupt.recv() => Ok(None),
    }
}

fn report_progress(monitor: &Monitor, store: &Store) {
    let totals = monitor.counts.totals();
    tracing::info!(
        read = monitor.progress.read(),
        applied = totals.applied,
        duplicates = totals.duplicates,
        ignored = totals.ignored,
        dead_letters = totals.dead_letters(),
        conflicts = totals.conflicts,
        fences = totals.fences,
        lag = monitor.progress.lag(),
        paused = monitor.progress.is_paused(),
        "progress"
    );
    report(store);
}

fn report(store: &Store) {
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
