//! Replays: what each reads, and whether it came to its end. Their checkpoints are checkpoints like any other.

use std::{fmt, str::FromStr};

use sqlx::PgConnection;

use crate::record::{NextOffset, TopicPartition};

use super::{
    Store,
    error::StoreError,
    transaction::{Isolation, TransactionSpec},
};

pub(super) const UPSERT: &str = "/* upsert_replay */
    INSERT INTO replays (name, asked_for) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET asked_for = excluded.asked_for, begun_at = now(), finished_at = NULL";

pub(super) const FORGET_PARTITIONS: &str = "/* forget_replay_partitions */
    DELETE FROM replay_partitions WHERE name = $1";

pub(super) const FORGET_CHECKPOINTS: &str = "/* forget_replay_checkpoints */
    DELETE FROM checkpoints WHERE group_id = $1";

pub(super) const INSERT_PARTITIONS: &str = "/* insert_replay_partitions */
    INSERT INTO replay_partitions (name, topic, partition, from_offset, to_offset)
    SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[])
    ON CONFLICT (name, topic, partition) DO UPDATE
        SET to_offset = greatest(replay_partitions.to_offset, excluded.to_offset)";

pub(super) const INSERT_CHECKPOINTS: &str = "/* insert_replay_checkpoints */
    INSERT INTO checkpoints (group_id, topic, partition, next_offset)
    SELECT $2, topic, partition, from_offset FROM replay_partitions WHERE name = $1 ORDER BY topic, partition
    ON CONFLICT (group_id, topic, partition) DO NOTHING";

pub(super) const REOPEN: &str = "/* reopen_replay */
    UPDATE replays SET finished_at = NULL WHERE name = $1";

pub(super) const FINISH: &str = "/* finish_replay */
    UPDATE replays SET finished_at = now() WHERE name = $1";

pub(super) const READ: &str = "/* read_replay */
    SELECT asked_for, finished_at IS NOT NULL FROM replays WHERE name = $1";

pub(super) const READ_PARTITIONS: &str = "/* read_replay_partitions */
    SELECT r.topic, r.partition, r.from_offset, r.to_offset, c.next_offset
    FROM replay_partitions r
    JOIN checkpoints c ON c.group_id = $2 AND c.topic = r.topic AND c.partition = r.partition
    WHERE r.name = $1
    ORDER BY r.topic, r.partition";

/// The name of a replay: 1 to 40 letters, digits, `-`, `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayName(String);

impl ReplayName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Under which its checkpoints are kept. No group of Kafka's should have such a name.
    pub fn group_id(&self) -> String {
        format!("replay:{}", self.0)
    }
}

impl Default for ReplayName {
    fn default() -> Self {
        Self("backfill".to_owned())
    }
}

impl FromStr for ReplayName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=40).contains(&name.len()) && name.chars().all(allowed) {
            return Ok(Self(name.to_owned()));
        }
        Err("allowed: 1 to 40 letters, digits, - and _".to_owned())
    }
}

impl fmt::Display for ReplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stretch of one partition, and how far it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayPartition {
    pub partition: TopicPartition,
    /// The first record.
    pub from: NextOffset,
    /// The first behind the stretch.
    pub to: NextOffset,
    /// The first that is not in the tables yet; [`Self::from`] at the beginning.
    pub next: NextOffset,
}

impl ReplayPartition {
    /// Offsets that are left to read.
    pub fn left(&self) -> u64 {
        u64::try_from(self.to.get() - self.next.get()).unwrap_or(0)
    }

    /// Offsets that were read.
    pub fn read(&self) -> u64 {
        u64::try_from(self.next.get() - self.from.get()).unwrap_or(0)
    }
}

/// A replay as the tables know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReplay {
    /// In the words that it was begun with.
    pub asked_for: String,
    pub is_finished: bool,
    pub partitions: Vec<ReplayPartition>,
}

const READ_SPEC: TransactionSpec = TransactionSpec {
    name: "read_replay",
    isolation: Isolation::RepeatableRead,
    read_only: true,
    statement_timeout: None,
};

const WRITE_SPEC: TransactionSpec = TransactionSpec {
    name: "write_replay",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: None,
};

impl Store {
    /// The last replay of this name.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn replay(&self, name: &ReplayName) -> Result<Option<StoredReplay>, StoreError> {
        self.transactions.run(&READ_SPEC, async |connection| read(connection, name).await).await
    }

    /// Begins a replay, in the place of the last of its name. Its checkpoints are where the stretches begin.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn begin_replay(
        &self,
        name: &ReplayName,
        asked_for: &str,
        partitions: &[ReplayPartition],
    ) -> Result<(), StoreError> {
        let body = async |connection: &mut PgConnection| {
            sqlx::query(FORGET_PARTITIONS).bind(name.as_str()).execute(&mut *connection).await?;
            sqlx::query(FORGET_CHECKPOINTS).bind(name.group_id()).execute(&mut *connection).await?;
            sqlx::query(UPSERT).bind(name.as_str()).bind(asked_for).execute(&mut *connection).await?;
            insert(connection, name, partitions).await
        };
        self.transactions.run(&WRITE_SPEC, body).await
    }

    /// Lets a replay go on behind its end, up to these offsets where they are greater. Partitions that it didn't have
    /// are added to it.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn extend_replay(&self, name: &ReplayName, partitions: &[ReplayPartition]) -> Result<(), StoreError> {
        let body = async |connection: &mut PgConnection| {
            sqlx::query(REOPEN).bind(name.as_str()).execute(&mut *connection).await?;
            insert(connection, name, partitions).await
        };
        self.transactions.run(&WRITE_SPEC, body).await
    }

    /// Notes that a replay came to its end.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn finish_replay(&self, name: &ReplayName) -> Result<(), StoreError> {
        let body = async |connection: &mut PgConnection| {
            sqlx::query(FINISH).bind(name.as_str()).execute(connection).await?;
            Ok::<_, StoreError>(())
        };
        self.transactions.run(&WRITE_SPEC, body).await
    }
}

async fn read(connection: &mut PgConnection, name: &ReplayName) -> Result<Option<StoredReplay>, StoreError> {
    let replay = sqlx::query_as::<_, (String, bool)>(READ).bind(name.as_str()).fetch_optional(&mut *connection).await?;
    let Some((asked_for, is_finished)) = replay else { return Ok(None) };
    let rows = sqlx::query_as::<_, (String, i32, i64, i64, i64)>(READ_PARTITIONS)
        .bind(name.as_str())
        .bind(name.group_id())
        .fetch_all(connection)
        .await?;
    let partition = |(topic, number, from, to, next): (String, i32, i64, i64, i64)| ReplayPartition {
        partition: TopicPartition::new(topic, number),
        from: NextOffset::new(from),
        to: NextOffset::new(to),
        next: NextOffset::new(next),
    };
    Ok(Some(StoredReplay { asked_for, is_finished, partitions: rows.into_iter().map(partition).collect() }))
}

async fn insert(
    connection: &mut PgConnection,
    name: &ReplayName,
    partitions: &[ReplayPartition],
) -> Result<(), StoreError> {
    fn column<'a, T>(partitions: &'a [ReplayPartition], value: impl Fn(&'a ReplayPartition) -> T) -> Vec<T> {
        partitions.iter().map(value).collect()
    }
    sqlx::query(INSERT_PARTITIONS)
        .bind(name.as_str())
        .bind(column(partitions, |one| &*one.partition.topic))
        .bind(column(partitions, |one| one.partition.partition))
        .bind(column(partitions, |one| one.from.get()))
        .bind(column(partitions, |one| one.to.get()))
        .execute(&mut *connection)
        .await?;
    sqlx::query(INSERT_CHECKPOINTS).bind(name.as_str()).bind(name.group_id()).execute(connection).await?;
    Ok(())
}
