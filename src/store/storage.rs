//! What a pipeline asks of a store: the route's two stations in Postgres, and where reading starts.

use std::collections::HashMap;

use crate::{
    fold::{Aggregators, BatchFold, Folded, SessionAggregator, Standing, Wanted},
    record::{NextOffset, TopicPartition},
};

use super::{
    Store,
    checkpoints::{Checkpoint, Committed},
    commit::{BatchCommit, CommitError},
    error::StoreError,
};

/// Keeps sessions, events and checkpoints. [`Store`] does in Postgres; a simulation does in memory, where it can fail
/// at will.
#[expect(async_fn_in_trait, reason = "a pipeline is driven where it was made, so nobody asks for `Send`")]
pub trait Storage<A: SessionAggregator> {
    /// The checkpoints of these partitions; those without one are left out.
    async fn checkpoints(
        &self,
        group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError>;

    /// Creates the checkpoints that are missing, at these offsets, and returns what stands then.
    async fn create_checkpoints(
        &self,
        group_id: &str,
        starts: &[(TopicPartition, NextOffset)],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError>;

    /// What stands of what is wanted, of one moment.
    async fn standing(
        &self,
        aggregators: &Aggregators<A>,
        wanted: &Wanted<'_>,
    ) -> Result<Standing<A::State>, StoreError>;

    /// Ends a fold with the stored events of the sessions that it folds again.
    async fn finish_fold<'e>(&self, fold: BatchFold<'e, '_, A>) -> Result<Folded<'e, A::State>, StoreError>;

    /// Writes everything of the batch, or nothing. A checkpoint that isn't where the batch expects it fences the batch;
    /// a session that isn't as it was read is a conflict.
    async fn commit_batch(&self, batch: &BatchCommit<'_, A>) -> Result<(), CommitError>;
}

/// [`Storage::checkpoints`], with the proof that reading may start there.
///
/// # Errors
/// If the store can't be asked.
pub async fn read_checkpoints<A: SessionAggregator>(
    storage: &impl Storage<A>,
    group_id: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<Checkpoint>, StoreError> {
    Ok(storage.checkpoints(group_id, partitions).await?.into_iter().map(Checkpoint::new).collect())
}

/// [`Storage::create_checkpoints`], with the proof that reading may start there.
///
/// # Errors
/// If the store refuses.
pub async fn create_checkpoints<A: SessionAggregator>(
    storage: &impl Storage<A>,
    group_id: &str,
    starts: &[(TopicPartition, NextOffset)],
) -> Result<Vec<Checkpoint>, StoreError> {
    Ok(storage.create_checkpoints(group_id, starts).await?.into_iter().map(Checkpoint::new).collect())
}

/// Commits a batch, and gives the proof that Kafka's offsets may follow.
///
/// # Errors
/// See [`CommitError`].
pub async fn commit<A: SessionAggregator>(
    storage: &impl Storage<A>,
    batch: &BatchCommit<'_, A>,
) -> Result<Committed, CommitError> {
    storage.commit_batch(batch).await?;
    Ok(Committed::of(batch.taken_from.moves()))
}

impl<A: SessionAggregator> Storage<A> for Store {
    async fn checkpoints(
        &self,
        group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError> {
        self.checkpoints(group_id, partitions).await
    }

    async fn create_checkpoints(
        &self,
        group_id: &str,
        starts: &[(TopicPartition, NextOffset)],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError> {
        self.create_checkpoints(group_id, starts).await
    }

    async fn standing(
        &self,
        aggregators: &Aggregators<A>,
        wanted: &Wanted<'_>,
    ) -> Result<Standing<A::State>, StoreError> {
        self.standing(aggregators, wanted).await
    }

    async fn finish_fold<'e>(&self, fold: BatchFold<'e, '_, A>) -> Result<Folded<'e, A::State>, StoreError> {
        self.finish_fold(fold).await
    }

    async fn commit_batch(&self, batch: &BatchCommit<'_, A>) -> Result<(), CommitError> {
        self.commit(batch).await
    }
}
