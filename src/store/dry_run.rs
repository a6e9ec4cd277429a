//! A store that is read and never written.

use std::collections::HashMap;

use crate::{
    fold::{Aggregators, BatchFold, Folded, SessionAggregator, Standing, Wanted},
    record::{NextOffset, TopicPartition},
};

use super::{
    Store,
    commit::{BatchCommit, CommitError},
    error::StoreError,
    storage::Storage,
};

/// Takes every batch and writes nothing of it, so that a pipeline counts what would become of its records. What two
/// batches have in common can be counted as new in both.
#[derive(Debug)]
pub struct DryRun {
    /// What is stored; none where the tables would be made first.
    pub tables: Option<Store>,
    /// Where each partition is read from.
    pub starts: HashMap<TopicPartition, NextOffset>,
}

impl<A: SessionAggregator> Storage<A> for DryRun {
    async fn checkpoints(
        &self,
        _group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError> {
        let start = |partition: &TopicPartition| Some((partition.clone(), *self.starts.get(partition)?));
        Ok(partitions.iter().filter_map(start).collect())
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
            None => Ok(fold.begin_refold().finish()),
        }
    }

    async fn commit_batch(&self, _batch: &BatchCommit<'_, A>) -> Result<(), CommitError> {
        Ok(())
    }
}
