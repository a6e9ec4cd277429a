//! The part that times out silent sessions, as long as a consumer runs beside it.

use std::{sync::Arc, time::Duration};

use crate::{
    config::Config,
    fold::SessionAggregator,
    store::{Failure, SeenLogEnds, Store, StoreError, Sweep, SweepScope},
    stream::ReadProgress,
};

/// Sweeps in an interval. Every instance may run one; Postgres lets one at a time through.
#[derive(Debug)]
pub struct Sweeper<A> {
    store: Store,
    aggregator: A,
    progress: Arc<ReadProgress>,
    scope: SweepScope,
    interval: Duration,
}

/// Partitions count as caught up for this many intervals: each instance notes its own in a rhythm of its own.
const INTERVALS_CAUGHT_UP: u32 = 3;

impl<A: SessionAggregator> Sweeper<A> {
    /// For the consumer whose progress this is.
    pub fn new(config: &Config, store: Store, aggregator: A, progress: Arc<ReadProgress>) -> Self {
        let interval = config.sweep.interval;
        let scope = SweepScope {
            group_id: config.kafka.group_id.clone(),
            topics: config.kafka.topics.clone(),
            // Ends of logs are seen once a second.
            caught_up_within: interval * INTERVALS_CAUGHT_UP + Duration::from_secs(5),
            max_sessions: config.sweep.max_sessions.get(),
        };
        Self { store, aggregator, progress, scope, interval }
    }

    /// Runs until the tables turn out not to be what this build expects.
    pub async fn run(&self) -> StoreError {
        let mut rounds = tokio::time::interval(self.interval);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            match self.round().await {
                Ok(()) => {}
                Err(error) if error.failure == Failure::Setup => return error,
                Err(error) => tracing::warn!(%error, "sessions were not swept; trying again"),
            }
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        if let Some((seen_at, ends)) = self.progress.log_ends() {
            let seen = SeenLogEnds { age: seen_at.elapsed(), ends };
            self.store.mark_caught_up(&self.scope.group_id, &seen).await?;
        }
        let mut timed_out = 0;
        loop {
            match self.store.sweep(&self.aggregator, &self.scope).await? {
                Sweep::TimedOut(sessions) => {
                    timed_out += sessions;
                    if sessions < self.scope.max_sessions as usize {
                        break;
                    }
                }
                held @ (Sweep::Busy | Sweep::HeldOff) => {
                    tracing::debug!(?held, "no sweep now");
                    break;
                }
            }
        }
        if timed_out > 0 {
            tracing::info!(sessions = timed_out, "silent sessions were timed out");
        }
        Ok(())
    }
}
