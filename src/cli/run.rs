//! `sessionfold run`: the service itself.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    config::Config,
    fold::SideAggregators,
    pipeline::Totals,
    serve::{Http, Listener, Observed, Seen},
    service::{
        ConsumerView, Consuming, Dependencies, Health, Part, Publisher, Retention, SupervisionError, Supervisor,
        SweepPart, TraceExporter, open_store, preflight,
    },
    store::Store,
    stream::Until,
};
use anyhow::{Context, anyhow};
use clap::Args;

use super::{CommandResult, Failure, check::first_problem, logging, progress::per_second, signals::Signals, summary};

#[derive(Args)]
#[command(after_help = "\
Examples:
  sessionfold run --config sessionfold.toml
  sessionfold run --drain --set batch.max_events=5000")]
pub(super) struct RunArgs {
    /// Stop when the end of every assigned partition was reached and everything before it is committed
    #[arg(long)]
    drain: bool,
    /// Print what the drain came to as one JSON object
    #[arg(long, requires = "drain")]
    json: bool,
}

/// How often the log tells how far the run is.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// How long the first look at brokers and Postgres may take. Each of them has less.
const PREFLIGHT_DEADLINE: Duration = Duration::from_secs(60);
/// How long connections to Postgres may take to close.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

pub(super) async fn execute(config: Config, args: RunArgs, sides: SideAggregators) -> CommandResult {
    logging::start(&config.log)?;
    config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let mut signals = Signals::new()?;
    let listening = Listening::begin(&config).await?;
    let store = open_store(&config);
    tokio::select! {
        prepared = prepare(&config, &store) => prepared?,
        () = signals.received() => return Ok(ExitCode::SUCCESS),
    }
    let mut running = Running::begin(&config, &args, &store, sides, listening)?;
    let outcome = running.until_stopped(&config, &mut signals).await;
    if outcome.is_err() {
        // The last spans are those of what has failed.
        running.supervisor.stop_within(TraceExporter::NAME, config.shutdown.timeout).await;
    }
    // What it had begun ends with it, also after a failure.
    running.supervisor.end().await;
    // A part that could not be ended may hold a connection for ever.
    let _ = tokio::time::timeout(CLOSE_WITHIN, store.close()).await;
    let outcome = outcome?;
    if args.drain
        && let Some(Outcome { totals, view }) = outcome
    {
        let monitor = view.monitor();
        let (discarded, time) = (monitor.progress.discarded(), monitor.working_time());
        if args.json {
            let mut document = summary::as_json(&totals, time);
            document.extend([("discarded".to_owned(), discarded.into()), ("halted".to_owned(), totals.halted.into())]);
            outln!("{}", serde_json::Value::Object(document));
        } else {
            summary::print(&totals, discarded, time);
        }
        if totals.halted > 0 {
            return Err(anyhow!("{} partition(s) halted, see above; the others were drained", totals.halted).into());
        }
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// All parts at work.
struct Running {
    supervisor: Supervisor,
    consuming: Arc<Consuming>,
    view: Arc<ConsumerView>,
    reporter: Reporter,
}

/// What a consumer came to that ended in good order.
struct Outcome {
    totals: Totals,
    view: Arc<ConsumerView>,
}

impl Running {
    fn begin(
        config: &Config,
        args: &RunArgs,
        store: &Store,
        sides: SideAggregators,
        listening: Option<Listening>,
    ) -> Result<Self, Failure> {
        let until = if args.drain { Until::Drained } else { Until::Stopped };
        let mut supervisor = Supervisor::new(&config.supervisor);
        let (view, board) = (Arc::<ConsumerView>::default(), supervisor.board());
        let exporter = TraceExporter::new(config).map(Arc::new);
        let consuming = Consuming::new(config, store.clone(), sides, until, Arc::clone(&view));
        let mut consuming = consuming.traced(exporter.as_ref().map(|exporter| exporter.tracing()));
        let sweep = Arc::new(SweepPart::new(config, store.clone(), Arc::clone(&view)));
        let retention = Arc::new(Retention::new(config, store.clone()));
        let publisher = Arc::new(Publisher::new(config, store.clone()));
        if let Some(Listening { listener, since }) = listening {
            let parts = [
                (SweepPart::NAME, sweep.report()),
                (Retention::NAME, retention.report()),
                (Publisher::NAME, publisher.report()),
            ];
            let health = Arc::new(Health::new(config, Arc::clone(&view), store.clone(), Arc::clone(&board)));
            consuming = consuming.watched_by(Arc::clone(&health));
            let dependencies = Arc::new(Dependencies::new(config, Arc::clone(&view), listener.address()?));
            let seen = Seen {
                view: Arc::clone(&view),
                board,
                store: store.clone(),
                health: Arc::clone(&health),
                dependencies: Arc::clone(&dependencies),
                // A drain has none beside it.
                parts: if args.drain { Vec::new() } else { parts.to_vec() },
                outbox: (!args.drain).then(|| publisher.counts()),
                spans: exporter.as_ref().map(|exporter| exporter.queue()),
                started_at: since,
            };
            let observed = Observed::new(config, seen)?;
            supervisor.keep(health);
            supervisor.keep(dependencies);
            supervisor.keep(Arc::new(Http::new(listener, observed)));
        }
        if let Some(exporter) = exporter {
            supervisor.keep(exporter);
        }
        let consuming = Arc::new(consuming);
        supervisor.keep(Arc::clone(&consuming));
        if !args.drain {
            // A drain reads what was, and has no now to ask about. It ends when all is read, not when all is published.
            supervisor.keep(sweep);
            supervisor.keep(retention);
            supervisor.keep(publisher);
        }
        let reporter = Reporter { view: Arc::clone(&view), store: store.clone(), told: Totals::default() };
        Ok(Self { supervisor, consuming, view, reporter })
    }

    /// Until the consumer ends by itself or a signal ends it. None where its end was not waited for.
    async fn until_stopped(&mut self, config: &Config, signals: &mut Signals) -> Result<Option<Outcome>, Failure> {
        let mut reports = tokio::time::interval(REPORT_INTERVAL);
        reports.tick().await;
        loop {
            tokio::select! {
                ended = self.supervisor.ended() => match ended? {
                    Consuming::NAME => break,
                    part => tracing::warn!(part, "a part ended for good"),
                },
                _ = reports.tick() => self.reporter.report(),
                () = signals.received() => return self.stop(config, signals).await,
            }
        }
        self.end_others(config.shutdown.timeout).await;
        Ok(self.outcome())
    }

    /// In good order for as long as the configuration says, unless it is asked for again.
    async fn stop(&mut self, config: &Config, signals: &mut Signals) -> Result<Option<Outcome>, Failure> {
        tracing::info!("stopping: committing what was read, leaving the group");
        let begun = Instant::now();
        // A sweep or a deletion under way is rolled back: left as it is, its locks would hold up the last batch.
        for part in [SweepPart::NAME, Retention::NAME] {
            self.supervisor.cut_short(part).await;
        }
        self.supervisor.ask_to_stop(Publisher::NAME);
        self.supervisor.ask_to_stop(Consuming::NAME);
        tokio::select! {
            ended = consumer_ended(&mut self.supervisor) => ended?,
            () = tokio::time::sleep(config.shutdown.timeout) => {
                tracing::warn!("not everything that was read could be committed in time; it will be read again");
                return Ok(None);
            }
            () = signals.received() => return Ok(None),
        }
        self.end_others(config.shutdown.timeout.saturating_sub(begun.elapsed())).await;
        Ok(self.outcome())
    }

    /// The last spans may take so long. It answers to the last: an orchestrator sees that it is stopping.
    async fn end_others(&mut self, patience: Duration) {
        self.reporter.report();
        self.supervisor.ask_to_stop(TraceExporter::NAME);
        self.supervisor.stop(Publisher::NAME).await;
        self.supervisor.stop_within(TraceExporter::NAME, patience).await;
        self.supervisor.stop(Http::NAME).await;
    }

    fn outcome(&self) -> Option<Outcome> {
        Some(Outcome { totals: self.consuming.outcome()?.clone(), view: Arc::clone(&self.view) })
    }
}

async fn consumer_ended(supervisor: &mut Supervisor) -> Result<(), SupervisionError> {
    loop {
        match supervisor.ended().await {
            Ok(Consuming::NAME) => return Ok(()),
            Ok(_) => {}
            Err(SupervisionError::Hopeless(error)) => return Err(SupervisionError::Hopeless(error)),
            // Another part's failure is no reason to break off the last commit.
            Err(error) => tracing::warn!(%error, "while stopping"),
        }
    }
}

/// The socket, and since when the program has run.
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
    let looked = tokio::time::timeout(PREFLIGHT_DEADLINE, preflight(config, store, config.postgres.migrate)).await;
    let findings =
        looked.context("brokers and Postgres could not be looked at in time; `sessionfold check` says more")?;
    first_problem(&findings)?;
    if config.postgres.migrate {
        let migrations = store.migrate().await.context("the migrations could not be applied")?;
        if migrations.applied > 0 {
            tracing::info!(applied = migrations.applied, schema = store.schema(), "migrations applied");
        }
    }
    Ok(())
}

/// Tells how far the run is.
struct Reporter {
    view: Arc<ConsumerView>,
    store: Store,
    told: Totals,
}

impl Reporter {
    /// Also tells of dead letters since the report before.
    fn report(&mut self) {
        let monitor = self.view.monitor();
        let totals = monitor.counts.totals();
        let breaker = self.store.breaker();
        if totals.dead_letters() > self.told.dead_letters() {
            let new = totals.dead_letters() - self.told.dead_letters();
            tracing::warn!(new, in_all = totals.dead_letter_reasons(), "records were set aside as dead letters");
        }
        tracing::info!(
            read = monitor.progress.read(),
            applied = totals.applied,
            duplicates = totals.duplicates,
            rejected = totals.rejected(),
            ignored = totals.ignored,
            dead_letters = totals.dead_letters(),
            discarded = monitor.progress.discarded(),
            conflicts = totals.conflicts,
            fences = totals.fences,
            lag = monitor.lag(),
            halted = totals.halted,
            paused = monitor.progress.is_paused(),
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
