//! Checkpoints: how far each partition is in the tables. They move by compare-and-set, in the batch's transaction.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

use crate::record::{NextOffset, TopicPartition};

use super::{
    Store,
    dead_letters::FencedLetter,
    error::StoreError,
    transaction::{Isolation, TransactionSpec},
};

pub(super) const LOCK: &str = "/* lock_checkpoints */
    SELECT c.topic, c.partition, c.next_offset
    FROM unnest($2::text[], $3::int[]) AS k(topic, partition)
    JOIN checkpoints c ON c.group_id = $1 AND c.topic = k.topic AND c.partition = k.partition
    ORDER BY c.topic, c.partition
    FOR NO KEY UPDATE OF c";

pub(super) const MOVE: &str = "/* move_checkpoints */
    UPDATE checkpoints c SET next_offset = m.next_offset, updated_at = now(),
        caught_up_at = CASE WHEN m.next_offset >= m.expected THEN c.caught_up_at END
    FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[]) AS m(topic, partition, expected, next_offset)
    WHERE c.group_id = $1 AND c.topic = m.topic AND c.partition = m.partition AND c.next_offset = m.expected";

pub(super) const READ: &str = "/* read_checkpoints */
    SELECT c.topic, c.partition, c.next_offset
    FROM unnest($2::text[], $3::int[]) AS k(topic, partition)
    JOIN checkpoints c ON c.group_id = $1 AND c.topic = k.topic AND c.partition = k.partition";

pub(super) const OF_GROUP: &str = "/* checkpoints_of_group */
    SELECT topic, partition, next_offset FROM checkpoints WHERE group_id = $1 ORDER BY topic, partition";

pub(super) const CREATE: &str = "/* create_checkpoints */
    INSERT INTO checkpoints (group_id, topic, partition, next_offset)
    SELECT $1, topic, partition, next_offset
    FROM unnest($2::text[], $3::int[], $4::bigint[]) AS m(topic, partition, next_offset)
    ORDER BY topic, partition
    ON CONFLICT (group_id, topic, partition) DO NOTHING";

/// One partition's step: the batch begins at `expected`, and the next one begins at `next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointMove {
    pub partition: TopicPartition,
    pub expected: NextOffset,
    pub next: NextOffset,
}

/// Where a partition's checkpoint stands: what lies before it is in the tables. Only this room makes one, of what it has
/// read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    partition: TopicPartition,
    next: NextOffset,
}

impl Checkpoint {
    pub(super) fn new((partition, next): (TopicPartition, NextOffset)) -> Self {
        Self { partition, next }
    }

    #[cfg(test)]
    pub(crate) fn made_up(partition: TopicPartition, next: NextOffset) -> Self {
        Self { partition, next }
    }

    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    pub fn next(&self) -> NextOffset {
        self.next
    }
}

/// Proof that a batch is in the tables, with the offsets that may be committed to Kafka now. Only this room makes one.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    checkpoints: Vec<Checkpoint>,
}

impl Committed {
    pub(super) fn of(moves: &[CheckpointMove]) -> Self {
        let checkpoint = |step: &CheckpointMove| Checkpoint { partition: step.partition.clone(), next: step.next };
        Self { checkpoints: moves.iter().map(checkpoint).collect() }
    }

    /// Where they stand since.
    pub fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }
}

/// What is not where the batch began: somebody else writes it, or this very batch was committed before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fenced {
    /// With what their checkpoints say; none where there is no checkpoint.
    pub partitions: Vec<(TopicPartition, Option<NextOffset>)>,
    /// Where the batch is of dead letters: those that are not as they were read.
    pub letters: Vec<FencedLetter>,
}

impl Fenced {
    /// Whether the commit of `moves`, whose answer was lost, happened after all: every checkpoint is where it put it.
    pub fn resolves(&self, moves: &[CheckpointMove]) -> Option<Committed> {
        let happened = moves.iter().all(|step| {
            self.partitions.iter().any(|(partition, found)| *partition == step.partition && *found == Some(step.next))
        });
        happened.then(|| Committed::of(moves))
    }
}

const READ_SPEC: TransactionSpec = TransactionSpec {
    name: "read_checkpoints",
    isolation: Isolation::ReadCommitted,
    read_only: true,
    statement_timeout: None,
};

const CREATE_SPEC: TransactionSpec = TransactionSpec { name: "create_checkpoints", read_only: false, ..READ_SPEC };

impl Store {
    /// The checkpoints of these partitions; those without one are left out.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn checkpoints(
        &self,
        group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError> {
        self.transactions.run(&READ_SPEC, async |connection| select(READ, connection, group_id, partitions).await).await
    }

    /// All checkpoints of a group, by partition.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn checkpoints_of_group(
        &self,
        group_id: &str,
    ) -> Result<BTreeMap<TopicPartition, NextOffset>, StoreError> {
        self.transactions.run(&READ_SPEC, async |connection| of_group(connection, group_id).await).await
    }

    /// Creates the checkpoints that are missing, at these offsets, and returns what stands then.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn create_checkpoints(
        &self,
        group_id: &str,
        starts: &[(TopicPartition, NextOffset)],
    ) -> Result<HashMap<TopicPartition, NextOffset>, StoreError> {
        let partitions: Vec<_> = starts.iter().map(|(partition, _)| partition.clone()).collect();
        let (topics, numbers) = columns(&partitions);
        let offsets: Vec<_> = starts.iter().map(|(_, offset)| offset.get()).collect();
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query(CREATE).bind(group_id).bind(&topics).bind(&numbers).bind(&offsets);
            query.execute(&mut *connection).await.map_err(StoreError::from)?;
            select(READ, connection, group_id, &partitions).await
        };
        self.transactions.run(&CREATE_SPEC, body).await
    }
}

pub(super) async fn of_group(
    connection: &mut PgConnection,
    group_id: &str,
) -> Result<BTreeMap<TopicPartition, NextOffset>, StoreError> {
    let rows = sqlx::query_as::<_, (String, i32, i64)>(OF_GROUP).bind(group_id).fetch_all(connection).await?;
    Ok(rows.into_iter().map(checkpoint).collect())
}

/// Moves all checkpoints, or says which don't stand where they should. A writer that comes second waits for the first
/// and then sees where it went.
pub(super) async fn advance(
    connection: &mut PgConnection,
    group_id: &str,
    moves: &[CheckpointMove],
) -> Result<Result<(), Fenced>, StoreError> {
    let partitions: Vec<_> = moves.iter().map(|step| step.partition.clone()).collect();
    let found = select(LOCK, connection, group_id, &partitions).await?;
    let found = |step: &CheckpointMove| found.get(&step.partition).copied();
    let fenced = moves.iter().filter(|step| found(step) != Some(step.expected));
    let fenced: Vec<_> = fenced.map(|step| (step.partition.clone(), found(step))).collect();
    if !fenced.is_empty() {
        return Ok(Err(Fenced { partitions: fenced, ..Fenced::default() }));
    }
    let (topics, numbers) = columns(&partitions);
    let expected: Vec<_> = moves.iter().map(|step| step.expected.get()).collect();
    let next: Vec<_> = moves.iter().map(|step| step.next.get()).collect();
    let query = sqlx::query(MOVE).bind(group_id).bind(&topics).bind(&numbers).bind(&expected).bind(&next);
    query.execute(connection).await?;
    Ok(Ok(()))
}

pub(super) async fn select(
    statement: &'static str,
    connection: &mut PgConnection,
    group_id: &str,
    partitions: &[TopicPartition],
) -> Result<HashMap<TopicPartition, NextOffset>, StoreError> {
    let (topics, numbers) = columns(partitions);
    let query = sqlx::query_as::<_, (String, i32, i64)>(statement).bind(group_id).bind(&topics).bind(&numbers);
    let rows = query.fetch_all(connection).await?;
    Ok(rows.into_iter().map(checkpoint).collect())
}

fn checkpoint((topic, partition, next): (String, i32, i64)) -> (TopicPartition, NextOffset) {
    (TopicPartition::new(topic, partition), NextOffset::new(next))
}

fn columns(partitions: &[TopicPartition]) -> (Vec<&str>, Vec<i32>) {
    partitions.iter().map(|partition| (&*partition.topic, partition.partition)).unzip()
}
