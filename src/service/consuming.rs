//! The part that consumes.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use crate::{
    config::Config,
    fold::{Aggregators, SideAggregators},
    pipeline::{PipelineError, Totals, Tracing},
    store::{Failure, Store},
    stream::{Departure, Until},
};

use super::{
    Configured, ConsumerView, Ended, Health, Part, Service, Stop, aggregators::with_aggregators,
    generation::adopt_when_available, renewed,
};

/// How long a consumer that has ended may take to leave its group. Longer than its thread waits for brokers, some times
/// over.
const DEPARTS_WITHIN: Duration = Duration::from_secs(30);

/// Consumes with the live generation's settings. Each life is a consumer of its own, which begins at the checkpoints.
#[derive(Debug)]
pub struct Consuming {
    config: Config,
    store: Store,
    sides: SideAggregators,
    until: Until,
    view: Arc<ConsumerView>,
    health: Option<Arc<Health>>,
    tracing: Option<Tracing>,
    /// The departure of the consumer of the life before.
    departure: Mutex<Option<Departure>>,
    outcome: OnceLock<Totals>,
}

impl Consuming {
    /// By the configuration as it was loaded.
    pub fn new(config: &Config, store: Store, sides: SideAggregators, until: Until, view: Arc<ConsumerView>) -> Self {
        let (config, departure, outcome) = (config.clone(), Mutex::default(), OnceLock::new());
        Self { config, store, sides, until, view, health: None, tracing: None, departure, outcome }
    }

    /// Counts as down where this finds that work stands still.
    #[must_use]
    pub fn watched_by(self, health: Arc<Health>) -> Self {
        Self { health: Some(health), ..self }
    }

    /// Tells of its batches and events there.
    #[must_use]
    pub fn traced(self, tracing: Option<Tracing>) -> Self {
        Self { tracing, ..self }
    }

    /// What became of all records; none before it has ended in good order.
    pub fn outcome(&self) -> Option<&Totals> {
        self.outcome.get()
    }

    fn rest(&self) {
        self.view.turn_to(self.view.monitor().at_rest());
    }

    async fn consume<A: Configured>(
        &self,
        store: Store,
        aggregators: Aggregators<A>,
        stop: &mut Stop,
    ) -> Result<Totals, PipelineError> {
        for incomplete in store.incomplete_aggregators(&aggregators).await? {
            tracing::warn!("{incomplete}; `sessionfold verify --repair` folds all again");
        }
        let before = self.view.monitor();
        let service = Service::start_after(&before, &self.config, store, aggregators, self.until)?;
        let service = service.traced(self.tracing.clone());
        let monitor = service.monitor();
        self.view.turn_to(monitor.clone());
        *self.departure.lock().unwrap_or_else(PoisonError::into_inner) = Some(service.departure());
        let (group, topics) = (&self.config.kafka.group_id, self.config.kafka.topics.len());
        tracing::info!(group, topics, "started: waiting for the group to assign partitions");
        let renew = async |bound: &Store| renewed(&self.config, bound, &self.sides).await;
        let mut running = std::pin::pin!(service.run_renewed(renew));
        tokio::select! {
            result = &mut running => return result,
            () = stop.asked() => monitor.stopper.stop(),
        }
        running.await
    }

    /// Until there is no other generation to go on with. None if it was asked to stop before it began.
    async fn consume_generations(&self, stop: &mut Stop) -> Result<Option<Totals>, PipelineError> {
        loop {
            let (config, bound) = tokio::select! {
                adopted = adopt_when_available(&self.config, &self.store) => adopted?,
                () = stop.asked() => return Ok(None),
            };
            let result = with_aggregators!(config, self.sides.clone(), |aggregators| {
                self.consume(bound.clone(), aggregators, stop).await
            });
            if result.is_ok() || stop.is_asked() || !bound.is_outdated().await {
                return result.map(Some);
            }
            tracing::info!("a generation of another aggregator was promoted: starting again with it");
            self.rest();
        }
    }
}

impl Part for Consuming {
    const NAME: &'static str = "consumer";

    async fn run(&self, mut stop: Stop) -> Ended {
        // What is seen of the one before says nothing of this one.
        self.rest();
        let before = self.departure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(before) = before {
            tokio::select! {
                () = before.happened() => {}
                () = stop.asked() => return Ended::Done,
                // It may hold partitions that the next one would then not be given.
                () = tokio::time::sleep(DEPARTS_WITHIN) => {
                    return Ended::Hopeless("the consumer's polling thread doesn't end".into());
                }
            }
        }
        match self.consume_generations(&mut stop).await {
            Ok(totals) => {
                if let Some(totals) = totals {
                    // Set once: it is done with that.
                    let _ = self.outcome.set(totals);
                }
                Ended::Done
            }
            Err(PipelineError::Stream(error)) if error.may_pass() => Ended::Failed(error.to_string()),
            Err(PipelineError::Store(error)) if error.failure != Failure::Setup => Ended::Failed(error.to_string()),
            Err(error) => Ended::Hopeless(error.into()),
        }
    }

    fn probe(&self) -> Result<(), String> {
        match &self.health {
            Some(health) => health.why_stuck().map_or(Ok(()), Err),
            None => Ok(()),
        }
    }
}
