//! What Kafka itself says of partitions: where their logs begin and end, and what the group committed. Reads only, and
//! joins no group.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use crate::{
    config::KafkaConfig,
    record::{NextOffset, TopicPartition},
};

use super::{client, client::LogToTracing, error::StreamError, log_places::exact_log_ends};

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
    let mut settings = client::consumer(config, &[]);
    settings.set("group.id", &config.group_id).set("enable.auto.commit", "false");
    let consumer: BaseConsumer<LogToTracing> = settings.create_with_context(LogToTracing::default())?;
    let partitions: Vec<TopicPartition> = described
        .into_iter()
        .flat_map(|(topic, count)| {
            let numbers = 0..i32::try_from(count.unwrap_or(0)).unwrap_or(i32::MAX);
            numbers.map(move |number| TopicPartition::new(topic.as_str(), number))
        })
        .collect();
    let mut asked = TopicPartitionList::new();
    for partition in &partitions {
        asked.add_partition(&partition.topic, partition.partition);
    }
    let committed = consumer.committed_offsets(asked, timeout)?;
    let ends = |partition: TopicPartition| {
        let (low, high) = consumer.fetch_watermarks(&partition.topic, partition.partition, timeout)?;
        let committed =
            match committed.find_partition(&partition.topic, partition.partition).map(|found| found.offset()) {
                Some(Offset::Offset(offset)) => Some(NextOffset::new(offset)),
                _ => None,
            };
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
