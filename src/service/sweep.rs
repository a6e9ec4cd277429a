//! The part that times out silent sessions, as long as a consumer runs beside it.

use std::{sync::Arc, time::Duration};

use super::{
    Configured, ConsumerView, Ended, Part, PartReport, Stop, aggregators::with_aggregators,
    generation::adopt_when_available, part_report::patience, renewed,
};
use crate::{
    config::Config,
    fold::{SessionAggregator, SideAggregators},
    pipeline::Renewed,
    store::{Failure, Publication, SeenLogEnds, Store, StoreError, Sweep, SweepInstant, SweepScope},
    stream::SeenEnds,
};

/// The part that sweeps, with the live generation's settings.
#[derive(Debug)]
pub struct SweepPart {
    config: Config,
    store: Store,
    view: Arc<ConsumerView>,
    report: Arc<PartReport>,
}

impl SweepPart {
    /// For the consumer of this view, by the configuration as it was loaded.
    pub fn new(config: &Config, store: Store, view: Arc<ConsumerView>) -> Self {
        Self { config: config.clone(), store, view, report: Arc::default() }
    }

    /// How its rounds go.
    pub fn report(&self) -> Arc<PartReport> {
        Arc::clone(&self.report)
    }

    async fn sweep(&self) -> StoreError {
        self.report.rest();
        let (config, bound) = match adopt_when_available(&self.config, &self.store).await {
            Ok(adopted) => adopted,
            Err(error) => return error,
        };
        with_aggregators!(config, SideAggregators::default(), |aggregators| {
            let sweeper = Sweeper::new(&self.config, bound, aggregators.session, Arc::clone(&self.view));
            sweeper.reporting_to(self.report()).run().await
        })
    }
}

impl Part for SweepPart {
    const NAME: &'static str = "sweep";

    async fn run(&self, mut stop: Stop) -> Ended {
        tokio::select! {
            error = self.sweep() => Ended::Failed(error.to_string()),
            () = stop.asked() => Ended::Done,
        }
    }

    fn probe(&self) -> Result<(), String> {
        self.report.probe(patience(&self.config))
    }
}

/// Sweeps in an interval. Every instance may run one; Postgres lets one at a time through.
#[derive(Debug)]
pub struct Sweeper<A> {
    config: Config,
    store: Store,
    aggregator: A,
    view: Arc<ConsumerView>,
    group_id: String,
    scope: SweepScope,
    interval: Duration,
    report: Arc<PartReport>,
}

/// Partitions count as caught up for this many intervals: each instance notes its own in a rhythm of its own.
const INTERVALS_CAUGHT_UP: u32 = 3;

/// After so many rounds that were held off, the log says so.
const ROUNDS_TO_TELL: u32 = 20;

/// What a round hands to the next.
#[derive(Default)]
struct Rounds {
    ends: Option<SeenEnds>,
    held_off: u32,
}

impl<A: Configured> Sweeper<A> {
    /// For the consumer of this view, by the configuration as it was loaded.
    pub fn new(config: &Config, store: Store, aggregator: A, view: Arc<ConsumerView>) -> Self {
        let interval = config.sweep.interval;
        let scope = SweepScope {
            instant: SweepInstant::CaughtUp {
                group_id: config.kafka.group_id.clone(),
                topics: config.kafka.topics.clone(),
                // Ends of logs are seen once a second.
                within: interval * INTERVALS_CAUGHT_UP + Duration::from_secs(5),
            },
            max_sessions: config.sweep.max_sessions.get(),
            publication: Publication::Published,
        };
        Self {
            config: config.clone(),
            store,
            aggregator,
            view,
            group_id: config.kafka.group_id.clone(),
            scope,
            interval,
            report: Arc::default(),
        }
    }

    fn reporting_to(self, report: Arc<PartReport>) -> Self {
        Self { report, ..self }
    }

    /// Runs until the tables turn out not to be what this build expects.
    pub async fn run(mut self) -> StoreError {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = Rounds::default();
        loop {
            ticks.tick().await;
            self.report.get_on();
            let result = self.round(&mut rounds).await;
            self.report.note(&result);
            match result {
                Ok(()) => {}
                Err(error) if error.failure == Failure::Setup => {
                    let renewed = renewed::<A>(&self.config, &self.store, &SideAggregators::default()).await;
                    let Some(Renewed { store, aggregators, .. }) = renewed else { return error };
                    (self.store, self.aggregator) = (store, aggregators.session);
                }
                Err(error) => tracing::warn!(%error, "sessions were not swept; trying again"),
            }
        }
    }

    async fn round(&self, rounds: &mut Rounds) -> Result<(), StoreError> {
        // Before Kafka told where the logs end, checkpoints may be missing that would hold the sweep off.
        let Some(ends) = self.view.monitor().progress.log_ends() else { return Ok(()) };
        // The ends of the round before are marked too: a pipeline that is always a moment behind reaches those.
        let before = rounds.ends.replace(ends.clone());
        for (seen_at, ends) in before.into_iter().chain([ends]) {
            let seen = SeenLogEnds { age: seen_at.elapsed(), ends };
            self.store.mark_caught_up(&self.group_id, &seen).await?;
        }
        match sweep_all(&self.store, &self.aggregator, &self.scope, || self.report.get_on()).await? {
            Some(0) => {}
            Some(timed_out) => tracing::info!(sessions = timed_out, "silent sessions were timed out"),
            None => {
                rounds.held_off += 1;
                if rounds.held_off.is_multiple_of(ROUNDS_TO_TELL) {
                    tracing::info!(
                        rounds = rounds.held_off,
                        "no session is timed out, since a partition has a backlog or nobody reads it"
                    );
                }
                return Ok(());
            }
        }
        rounds.held_off = 0;
        Ok(())
    }
}

/// Sweeps until no silent session is left; says after each transaction that it got on. Returns how many were timed out; none where a backlog holds the sweep off.
pub(super) async fn sweep_all<A: SessionAggregator>(
    store: &Store,
    aggregator: &A,
    scope: &SweepScope,
    got_on: impl Fn(),
) -> Result<Option<usize>, StoreError> {
    let mut sum = 0;
    loop {
        let swept = store.sweep(aggregator, scope).await?;
        got_on();
        match swept {
            Sweep::Swept { timed_out, more } => {
                sum += timed_out;
                if !more {
                    return Ok(Some(sum));
                }
            }
            Sweep::Busy => return Ok(Some(sum)),
            Sweep::HeldOff => return Ok((sum > 0).then_some(sum)),
        }
    }
}
