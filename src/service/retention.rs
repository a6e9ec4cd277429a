//! The part that deletes by age, as long as a consumer runs beside it or an operator asks for it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use super::{Ended, Part, PartReport, Stop, part_report::patience};
use crate::{
    config::Config,
    store::{Expiring, Expiry, Store, StoreError},
};

/// A deletion may take ten minutes, and a Postgres that is silent in it is waited for twice that.
const PATIENCE: Duration = Duration::from_secs(25 * 60);

/// Deletes what is older than the configuration allows. Every instance may run one; Postgres lets one at a time through.
#[derive(Debug)]
pub struct Retention {
    store: Store,
    group_id: String,
    topics: Vec<String>,
    ages: Vec<(Expiring, Duration)>,
    interval: Duration,
    report: Arc<PartReport>,
    patience: Duration,
    /// Rows in one transaction.
    batch: u32,
}

/// Where a row is too old: before these instants.
pub type Cutoffs = BTreeMap<Expiring, DateTime<Utc>>;

impl Retention {
    pub fn new(config: &Config, store: Store) -> Self {
        let retention = &config.retention;
        let ages = [
            (Expiring::Sessions, retention.sessions),
            (Expiring::SettledDeadLetters, retention.dead_letters),
            (Expiring::OpenDeadLetters, retention.open_dead_letters),
            (Expiring::PublishedTransitions, retention.transitions),
        ];
        Self {
            store,
            group_id: config.kafka.group_id.clone(),
            topics: config.kafka.topics.clone(),
            ages: ages.into_iter().filter_map(|(what, age)| Some((what, age?))).collect(),
            interval: retention.interval,
            batch: retention.batch.get(),
            report: Arc::default(),
            patience: patience(config).max(PATIENCE),
        }
    }

    /// How its last round went.
    pub fn report(&self) -> Arc<PartReport> {
        Arc::clone(&self.report)
    }

    /// What has an age, and which.
    pub fn ages(&self) -> &[(Expiring, Duration)] {
        &self.ages
    }

    /// For ever.
    async fn delete_again_and_again(&self) {
        self.report.rest();
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.report.get_on();
            let result = self.round().await;
            self.report.note(&result);
            if let Err(error) = result {
                tracing::warn!(%error, "what is too old was not all deleted; trying again");
            }
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        let cutoffs = self.cutoffs(None).await?;
        if self.ages.iter().any(|(what, _)| !cutoffs.contains_key(what)) {
            tracing::info!(
                "no session is deleted by age, since no instant is known by which all partitions were read to their end"
            );
        }
        for (what, before) in &cutoffs {
            let rows = self.delete(*what, *before, |_| self.report.get_on()).await?;
            if rows > 0 {
                tracing::info!(?what, rows, %before, "deleted by age");
            }
        }
        Ok(())
    }

    /// By now. For sessions now is the latest instant at which all records were known to be in the tables, as the
    /// tables say or as the caller knows; where nobody does, sessions are left out.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn cutoffs(&self, caught_up_at: Option<DateTime<Utc>>) -> Result<Cutoffs, StoreError> {
        let mut cutoffs = Cutoffs::new();
        for (what, age) in &self.ages {
            let now = match what {
                Expiring::Sessions => self.store.caught_up_at(&self.group_id, &self.topics).await?.max(caught_up_at),
                _ => Some(Utc::now()),
            };
            if let Some(cutoff) = now.and_then(|now| now.checked_sub_signed(chrono::TimeDelta::from_std(*age).ok()?)) {
                cutoffs.insert(*what, cutoff);
            }
        }
        Ok(cutoffs)
    }

    /// Deletes all rows before an instant, batch by batch. `progress` sees how many it were so far. Ends early where
    /// another instance is at it.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn delete(
        &self,
        what: Expiring,
        before: DateTime<Utc>,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, StoreError> {
        let mut sum = 0;
        loop {
            let begun = Instant::now();
            let Expiry::Deleted { rows, more } = self.store.delete_expired(what, before, self.batch).await? else {
                return Ok(sum);
            };
            sum += rows;
            progress(sum);
            if !more {
                return Ok(sum);
            }
            // The batches of the stream come first: half of the time is theirs alone.
            tokio::time::sleep(begun.elapsed()).await;
        }
    }
}

impl Part for Retention {
    const NAME: &'static str = "retention";

    async fn run(&self, mut stop: Stop) -> Ended {
        tokio::select! {
            () = self.delete_again_and_again(), if !self.ages.is_empty() => {}
            () = stop.asked() => {}
        }
        Ended::Done
    }

    fn probe(&self) -> Result<(), String> {
        self.report.probe(self.patience)
    }
}
