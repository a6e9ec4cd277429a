//! The decisions of operators where checkpoints go on.

use std::slice;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::record::{NextOffset, TopicPartition};

use super::{
    Store,
    checkpoints::{self, CheckpointMove},
    commit::CommitError,
    error::StoreError,
    transaction::{Isolation, TransactionSpec},
};

pub(super) const INSERT: &str = "/* insert_adopted_offsets */
    INSERT INTO adopted_offsets (group_id, topic, partition, from_offset, to_offset, log_start, log_end)
    SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])";

pub(super) const READ: &str = "/* read_adopted_offsets */
    SELECT topic, partition, from_offset, to_offset, log_start, log_end, adopted_at
    FROM adopted_offsets
    WHERE group_id = $1
    ORDER BY id DESC
    LIMIT $2";

const SPEC: TransactionSpec = TransactionSpec {
    name: "adopt_offset",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: None,
};

/// A decision, and what the log held then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedOffset {
    pub step: CheckpointMove,
    pub log_start: NextOffset,
    pub log_end: NextOffset,
}

impl AdoptedOffset {
    /// Whether the checkpoint was that of another log: one that ends before it was made since, and nothing of it was
    /// read.
    pub fn is_of_another_log(&self) -> bool {
        self.step.expected > self.log_end
    }

    /// How many offsets no table will hold; the column `gap` says the same.
    pub fn gap(&self) -> u64 {
        let from = if self.is_of_another_log() { self.log_start } else { self.step.expected };
        u64::try_from(self.step.next.get() - from.get()).unwrap_or(0)
    }
}

impl Store {
    /// Moves one checkpoint by an operator's decision, and keeps the decision. Whoever reads the partition is fenced.
    ///
    /// # Errors
    /// If the checkpoint is not where it was expected, or Postgres refuses.
    pub async fn adopt_offset(&self, group_id: &str, adopted: &AdoptedOffset) -> Result<(), CommitError> {
        self.adopt_offsets(group_id, slice::from_ref(adopted)).await
    }

    /// The same for several partitions: all of it or nothing.
    ///
    /// # Errors
    /// If a checkpoint is not where it was expected, or Postgres refuses.
    pub async fn adopt_offsets(&self, group_id: &str, adopted: &[AdoptedOffset]) -> Result<(), CommitError> {
        let steps: Vec<CheckpointMove> = adopted.iter().map(|one| one.step.clone()).collect();
        let offsets = |offset: fn(&AdoptedOffset) -> NextOffset| -> Vec<i64> {
            adopted.iter().map(|one| offset(one).get()).collect()
        };
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query(INSERT)
                .bind(group_id)
                .bind(steps.iter().map(|step| &*step.partition.topic).collect::<Vec<_>>())
                .bind(steps.iter().map(|step| step.partition.partition).collect::<Vec<_>>())
                .bind(offsets(|one| one.step.expected))
                .bind(offsets(|one| one.step.next))
                .bind(offsets(|one| one.log_start))
                .bind(offsets(|one| one.log_end));
            query.execute(&mut *connection).await.map_err(StoreError::from)?;
            checkpoints::advance(connection, group_id, &steps).await?.map_err(CommitError::Fenced)
        };
        self.transactions.run(&SPEC, body).await
    }

    /// The last decisions for this group, the latest first, and when they were made.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn adopted_offsets(
        &self,
        group_id: &str,
        limit: u32,
    ) -> Result<Vec<(AdoptedOffset, DateTime<Utc>)>, StoreError> {
        const SPEC_OF_READING: TransactionSpec =
            TransactionSpec { name: "read_adopted_offsets", read_only: true, ..SPEC };
        type Row = (String, i32, i64, i64, i64, i64, DateTime<Utc>);
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query_as::<_, Row>(READ).bind(group_id).bind(i64::from(limit));
            Ok::<_, StoreError>(query.fetch_all(connection).await?)
        };
        let adopted = |(topic, partition, from, to, log_start, log_end, at): Row| {
            let step = CheckpointMove {
                partition: TopicPartition::new(topic, partition),
                expected: NextOffset::new(from),
                next: NextOffset::new(to),
            };
            (AdoptedOffset { step, log_start: NextOffset::new(log_start), log_end: NextOffset::new(log_end) }, at)
        };
        Ok(self.transactions.run(&SPEC_OF_READING, body).await?.into_iter().map(adopted).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(expected: i64, next: i64, (log_start, log_end): (i64, i64)) -> u64 {
        let [expected, next, log_start, log_end] = [expected, next, log_start, log_end].map(NextOffset::new);
        AdoptedOffset {
            step: CheckpointMove { partition: TopicPartition::new("t", 0), expected, next },
            log_start,
            log_end,
        }
        .gap()
    }

    #[test]
    fn a_gap_is_what_lies_between_the_checkpoint_and_where_reading_goes_on() {
        assert_eq!(gap(100, 400, (0, 400)), 300);
        assert_eq!(gap(100, 250, (250, 400)), 150, "retention ran over it");
        assert_eq!(gap(100, 0, (0, 400)), 0);
        assert_eq!(gap(400, 400, (0, 400)), 0);
    }

    #[test]
    fn of_a_log_that_was_made_anew_the_gap_is_all_that_is_left_out() {
        assert_eq!(gap(107_615, 7_615, (0, 7_615)), 7_615);
        assert_eq!(gap(107_615, 7_000, (100, 7_615)), 6_900);
        assert_eq!(gap(107_615, 0, (0, 7_615)), 0);
        assert_eq!(gap(107_615, 200_000, (0, 7_615)), 200_000);
    }
}
