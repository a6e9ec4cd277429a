//! A consumer and its pipeline, put together from the configuration, and what an operator wants to know before they
//! start.

mod aggregators;
mod consumer_view;
mod consuming;
mod dependencies;
mod fault;
mod finalize;
mod generation;
mod health;
mod http_client;
mod outbox;
mod part_report;
mod preflight;
mod promotion;
mod replay;
mod retention;
pub mod supervisor;
mod sweep;
mod trace_export;
mod watchdog;

pub(crate) use aggregators::with_aggregators;
pub use consumer_view::ConsumerView;
pub use consuming::Consuming;
pub use dependencies::{Counted, Dependencies, DependencyReport, Snapshot, Status};
pub use finalize::{NotFinalized, plan_end};
pub use generation::{OtherGeneration, adopt_generation, make_generation, open_generation, renewed, settings_of};
pub use health::{Health, PostgresHealth};
pub use outbox::{OutboxCounts, OutboxSeen, Publisher};
pub use part_report::{LastRound, PartReport};
pub use preflight::{Finding, preflight, preflight_database};
pub use promotion::{Promoter, PromotionError};
pub use replay::{Begins, Bound, Bounds, Replay, ReplayError, ReplayPlan, Stretch, caught_up_at, sweep_as_of};
pub use retention::{Cutoffs, Retention};
pub use supervisor::{Board, Ended, Part, PartStanding, PartState, Stop, SupervisionError, Supervisor};
pub use sweep::{SweepPart, Sweeper};
pub use trace_export::TraceExporter;

use std::{
    collections::HashSet,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use crate::{
    config::{AggregatorKind, Config},
    event::Decoder,
    fold::{Aggregators, Convergent, Reference, SessionAggregator},
    pipeline::{Counts, Pipeline, PipelineError, PipelineOptions, Renewed, Totals, Tracing},
    store::{BreakerOptions, PoolOptions, Publication, Storage, Store},
    stream::{
        BatchLimits, Consumer, ConsumerOptions, Departure, Membership, ReadProgress, Stopper, StreamError, Until,
    },
};

/// The store that the configuration names. It connects with the first statement.
pub fn open_store(config: &Config) -> Store {
    Store::new(pool_options(config))
}

/// The same store by connections of its own, so many, whose statements may take so long: for those who look on. What
/// they meet says nothing to the circuit breaker of others.
pub fn open_store_with(config: &Config, max_connections: u32, patience: Duration) -> Store {
    let options = pool_options(config);
    Store::new(PoolOptions {
        max_connections,
        connect_timeout: options.connect_timeout.min(patience),
        statement_timeout: options.statement_timeout.min(patience),
        ..options
    })
}

fn pool_options(config: &Config) -> PoolOptions {
    PoolOptions {
        connect: config.postgres.connect_options(),
        schema: config.postgres.schema.as_str().to_owned(),
        max_connections: config.postgres.max_connections.get(),
        connect_timeout: config.postgres.connect_timeout,
        statement_timeout: config.postgres.statement_timeout,
        breaker: BreakerOptions {
            failure_threshold: config.breaker.failure_threshold,
            open_for: config.breaker.open_for,
            half_open_successes: config.breaker.half_open_successes,
        },
    }
}

fn connections(config: &Config) -> NonZeroUsize {
    config.postgres.max_connections.try_into().unwrap_or(NonZeroUsize::MAX)
}

/// How records become events, by the configuration.
pub fn decoder(config: &Config) -> Decoder {
    Decoder {
        max_value_bytes: config.events.max_value_bytes.get(),
        future_tolerance: config.aggregator.future_tolerance,
        ignored_kinds: config.events.ignore.iter().cloned().collect::<HashSet<_>>(),
    }
}

/// The convergent aggregator, by the configuration.
pub fn convergent(config: &Config) -> Convergent {
    Convergent {
        inactivity_timeout: config.aggregator.inactivity_timeout,
        reopen_grace: config.aggregator.reopen_grace,
    }
}

/// The reference aggregator, by the configuration.
pub fn reference(config: &Config) -> Reference {
    Reference { inactivity_timeout: config.aggregator.inactivity_timeout }
}

/// An aggregator that the configuration can choose.
pub trait Configured: SessionAggregator + Clone {
    const KIND: AggregatorKind;

    fn configured(config: &Config) -> Self;
}

impl Configured for Convergent {
    const KIND: AggregatorKind = AggregatorKind::Convergent;

    fn configured(config: &Config) -> Self {
        convergent(config)
    }
}

impl Configured for Reference {
    const KIND: AggregatorKind = AggregatorKind::Reference;

    fn configured(config: &Config) -> Self {
        reference(config)
    }
}

/// One member of the consumer group, with its way into the store.
#[derive(Debug)]
pub struct Service<A: SessionAggregator, S = Store> {
    consumer: Consumer,
    pipeline: Pipeline<S, A>,
}

/// A view on a running service. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    pub counts: Arc<Counts>,
    pub progress: Arc<ReadProgress>,
    pub stopper: Stopper,
}

impl Monitor {
    /// Records that the logs hold and the tables don't yet; none before Kafka told where the logs end.
    pub fn lag(&self) -> Option<u64> {
        Some(self.progress.lag()? + self.in_hand())
    }

    /// Records that were read, and neither committed nor let go.
    pub fn in_hand(&self) -> u64 {
        // In this order, so that what is committed in between isn't missed.
        let committed = self.counts.totals().records() + self.progress.discarded();
        self.progress.read().saturating_sub(committed)
    }

    /// When nobody consumes: it goes on counting, what was in hand was let go, and there is nothing to see of partitions.
    pub(super) fn at_rest(&self) -> Self {
        let progress = Arc::new(ReadProgress::after(&self.progress, self.in_hand()));
        Self { counts: Arc::clone(&self.counts), progress, stopper: Stopper::default() }
    }

    /// From the first record read to the last batch committed: the time without the wait for the group.
    pub fn working_time(&self) -> Duration {
        let time = self.progress.first_read_at().zip(self.counts.last_commit_at());
        time.map_or(Duration::ZERO, |(first, last)| last.saturating_duration_since(first))
    }
}

impl<A: SessionAggregator> Service<A> {
    /// Joins the group.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration.
    pub fn start(
        config: &Config,
        store: Store,
        aggregators: Aggregators<A>,
        until: Until,
    ) -> Result<Self, StreamError> {
        Self::start_after(&Monitor::default(), config, store, aggregators, until)
    }

    /// The same, and goes on counting where a service that has ended stopped: what that one had in hand was let go.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration.
    pub fn start_after(
        before: &Monitor,
        config: &Config,
        store: Store,
        aggregators: Aggregators<A>,
        until: Until,
    ) -> Result<Self, StreamError> {
        let options = PipelineOptions {
            group_id: config.kafka.group_id.clone(),
            keep_rejected: config.aggregator.keep_rejected,
            publication: Publication::Published,
        };
        let progress = ReadProgress::after(&before.progress, before.in_hand());
        let consumer = start_consumer(config, until, Membership::Group, None, progress)?;
        let pipeline = Pipeline::new(store, aggregators, options).counting_on(Arc::clone(&before.counts));
        Ok(Self { consumer, pipeline })
    }
}

impl<A: SessionAggregator, S: Storage<A>> Service<A, S> {
    pub fn monitor(&self) -> Monitor {
        Monitor {
            counts: self.pipeline.counts(),
            progress: Arc::clone(&self.consumer.progress),
            stopper: self.consumer.stopper(),
        }
    }

    /// Tells of its batches and events there.
    #[must_use]
    pub fn traced(self, tracing: Option<Tracing>) -> Self {
        Self { pipeline: self.pipeline.traced(tracing), ..self }
    }

    /// By which to know that its consumer has left the group, also when the service was dropped.
    pub fn departure(&self) -> Departure {
        self.consumer.departure()
    }

    /// Like [`Self::run`], but asks after an error whether there is something else to go on with.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub async fn run_renewed(
        mut self,
        renew: impl AsyncFnMut(&S) -> Option<Renewed<S, A>>,
    ) -> Result<Totals, PipelineError> {
        Box::pin(self.pipeline.run_renewed(self.consumer, renew)).await
    }

    /// Runs until it is stopped, or drained where that was asked for.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub async fn run(mut self) -> Result<Totals, PipelineError> {
        // In a box of its own: rustc follows futures within futures only so deep, and whoever embeds this adds to it.
        Box::pin(self.pipeline.run(self.consumer)).await
    }
}

fn start_consumer(
    config: &Config,
    until: Until,
    membership: Membership,
    rate: Option<NonZeroU32>,
    progress: ReadProgress,
) -> Result<Consumer, StreamError> {
    Consumer::start(ConsumerOptions {
        kafka: config.kafka.clone(),
        decoder: decoder(config),
        limits: BatchLimits {
            max_events: config.batch.max_events.get(),
            max_bytes: config.batch.max_bytes.get(),
            max_wait: config.batch.max_wait,
        },
        lanes: config.batch.lanes,
        connections: connections(config),
        until,
        membership,
        rate,
        keep_records: config.aggregator.keep_rejected,
        progress: Arc::new(progress),
    })
}
