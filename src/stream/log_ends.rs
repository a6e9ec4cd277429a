//! What Kafka itself says of partitions: where their logs begin and end, and what the group committed. Reads only, and
//! joins no group.

use std::{collections::HashMap, time::Duration};

use rdkafka::{
    Offset,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaResult,
};

use crate::{
    config::KafkaConfig,
    record::{NextOffset, TopicPartition},
};

use super::{client, client::LogToTracing, error::StreamError, log_places::exact_log_ends, poller::list};

/// One partition as Kafka knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnds {
    pub partition: TopicPartition,
    /// The first record that the log still holds.
    pub earliest: NextOffset,
    /// Where the next record will stand.
    pub latest: NextOffset,
    /// What the group committed to Kafka; it follows the checkpoint.
    pub committed: Option<NextOffset>,
}

impl LogEnds {
    /// How many offsets are to be read from there on; of a partition that nobody has begun to read, all. None where that
    /// is beyond the end.
    pub fn left_from(&self, next: Option<NextOffset>) -> Option<u64> {
        u64::try_from(self.latest.get() - next.unwrap_or(self.earliest).get()).ok()
    }
}

/// What Kafka says of a partition, or why it doesn't.
pub type KnownLogEnds = (TopicPartition, Result<LogEnds, StreamError>);

/// The ends of all partitions of the configured topics. Blocks; each request takes up to `timeout`.
///
/// # Errors
/// If the broker doesn't answer, or a partition has no leader that does.
pub fn log_ends(config: &KafkaConfig, timeout: Duration) -> Result<Vec<LogEnds>, StreamError> {
    known_log_ends(config, timeout)?.into_iter().map(|(_, ends)| ends).collect()
}

/// The same, with the reason for each partition whose ends can't be found out.
///
/// # Errors
/// If the broker doesn't answer.
pub fn known_log_ends(config: &KafkaConfig, timeout: Duration) -> Result<Vec<KnownLogEnds>, StreamError> {
    let described = super::topics::describe_topics(config, &config.topics, timeout)?;
    let onlooker = onlooker(config)?;
    let partitions: Vec<TopicPartition> = described
        .into_iter()
        .flat_map(|(topic, count)| {
            let numbers = 0..i32::try_from(count.unwrap_or(0)).unwrap_or(i32::MAX);
            numbers.map(move |number| TopicPartition::new(topic.as_str(), number))
        })
        .collect();
    let committed = committed_offsets(&onlooker, &partitions, timeout)?;
    let ends = |partition: TopicPartition| {
        let (low, high) = onlooker.fetch_watermarks(&partition.topic, partition.partition, timeout)?;
        let committed = committed.get(&partition).copied();
        Ok::<_, StreamError>(LogEnds {
            partition,
            earliest: NextOffset::new(low),
            latest: NextOffset::new(high),
            committed,
        })
    };
    let mut known: Vec<KnownLogEnds> =
        partitions.into_iter().map(|partition| (partition.clone(), ends(partition))).collect();
    let exact = exact_log_ends(config, known.iter().filter_map(|(_, ends)| ends.as_ref().ok()), timeout)?;
    for (partition, ends) in &mut known {
        if let (Ok(ends), Some(latest)) = (ends, exact.get(partition)) {
            ends.latest = *latest;
        }
    }
    Ok(known)
}

/// A client that may be asked for the group's offsets, and isn't of it.
pub(super) fn onlooker(config: &KafkaConfig) -> Result<BaseConsumer<LogToTracing>, StreamError> {
    let mut settings = client::consumer(config, &[]);
    settings.set("group.id", &config.group_id).set("enable.auto.commit", "false");
    Ok(settings.create_with_context(LogToTracing::default())?)
}

/// What the group has committed of these partitions; those of which nothing is are left out. Blocks.
pub(super) fn committed_offsets<'p, C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: impl IntoIterator<Item = &'p TopicPartition, IntoIter: Clone>,
    timeout: Duration,
) -> KafkaResult<HashMap<TopicPartition, NextOffset>> {
    let partitions = partitions.into_iter();
    let committed = consumer.committed_offsets(list(partitions.clone()), timeout)?;
    let offset =
        |partition: &TopicPartition| match committed.find_partition(&partition.topic, partition.partition)?.offset() {
            Offset::Offset(offset) => Some((partition.clone(), NextOffset::new(offset))),
            _ => None,
        };
    Ok(partitions.filter_map(offset).collect())
}
