//! A store that is read and never written.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    fold::{Aggregators, BatchFold, Folded, SessionAggregator, Standing, Wanted},
    record::{NextOffset, TopicPartition},
};

use super::{
    Store,
    commit::{BatchCommit, CommitError, TakenFrom},
    error::StoreError,
    storage::Storage,
};

/// Takes every batch and writes nothing of it, so that a pipeline counts what would become of its records. What two
/// batches have in common can be counted as new in both.
#[derive(Debug)]
pub struct DryRun {
    /// What is stored; none where the tables would be made first.
    tables: Option<Store>,
    /// Where each partition is read from; then, how far it was taken: one that is read again isn't counted twice. Kafka never
    /// hears of it, since what writes nothing reads without a group.
    positions: Mutex<HashMap<TopicPartition, NextOffset>>,
}

impl DryRun {
    pub fn new(tables: Option<Store>, starts: HashMap<TopicPartition, NextOffset>) -> Self {
        Self { tables, positions: Mutex::new(starts) }
    }

    fn positions(&self) -> MutexGuard<'_, HashMap<TopicPartition, NextOffset>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: SessionAggregator> Storage<A> for DryRun {
    async fn checkpoints(
        &self,
        _group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError> {
        let positions = self.positions();
        let position = |partition: &TopicPartition| Some((partition.clone(), *positions.get(partition)?));
        Ok(partitions.iter().filter_map(position).collect())
    }

    async fn create_checkpoints(
        &self,
        _group_id: &str,
        starts: &[(TopicPartition, NextOffset)],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError> {
        Ok(starts.iter().cloned().collect())
    }

    async fn standing(
        &self,
        aggregators: &Aggregators<A>,
        wanted: &Wanted<'_>,
    ) -> Result<Standing<A::State>, StoreError> {
        match &self.tables {
            Some(store) => store.standing(aggregators, wanted).await,
            None => Ok(Standing::default()),
        }
    }

    async fn finish_fold<'e>(&self, fold: BatchFold<'e, '_, A>) -> Result<Folded<'e, A::State>, StoreError> {
        match &self.tables {
            Some(store) => store.finish_fold(fold).await,
            // Nothing is stored, so nothing is folded again from what is.
            None => Ok(fold.finish(std::iter::empty())),
        }
    }

    async fn commit_batch(&self, batch: &BatchCommit<'_, A>) -> Result<(), CommitError> {
        if let TakenFrom::Log { moves, .. } = batch.taken_from {
            self.positions().extend(moves.iter().map(|step| (step.partition.clone(), step.next)));
        }
        Ok(())
    }
}
