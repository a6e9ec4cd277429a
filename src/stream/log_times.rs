//! When the record at an offset was sent. Reads only, and joins no group.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use uuid::Uuid;

use crate::{
    config::KafkaConfig,
    event::RecordTimestamp,
    record::{NextOffset, TopicPartition},
};

use super::{
    client::{self, LogToTracing},
    error::StreamError,
    wire,
};

const POLL: Duration = Duration::from_millis(100);

/// The timestamps of the first records at or behind these offsets. Those that have none, or aren't got within `timeout`,
/// are left out. Blocks.
///
/// # Errors
/// If librdkafka refuses the configuration.
pub fn record_times(
    config: &KafkaConfig,
    offsets: &[(TopicPartition, NextOffset)],
    timeout: Duration,
) -> Result<HashMap<TopicPartition, RecordTimestamp>, StreamError> {
    if offsets.is_empty() {
        return Ok(HashMap::new());
    }
    // One record of each partition is wanted.
    let little = [("queued.max.messages.kbytes", "1024"), ("fetch.message.max.bytes", "16384")];
    let mut settings = client::consumer(config, &little);
    settings
        // librdkafka asks for one. Nobody joins it.
        .set("group.id", format!("sessionfold-offsets-{}", Uuid::now_v7()))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer<LogToTracing> = settings.create_with_context(LogToTracing::default())?;
    let mut list = TopicPartitionList::new();
    for (partition, next) in offsets {
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(next.get()))?;
    }
    consumer.assign(&list).map_err(StreamError::Assign)?;
    let deadline = Instant::now() + timeout;
    let mut times = HashMap::new();
    while times.len() < offsets.len() && Instant::now() < deadline {
        // What fails here fails again until the time is over: the time is left out then.
        let Some(Ok(message)) = consumer.poll(POLL) else { continue };
        let partition = TopicPartition::new(message.topic(), message.partition());
        let mut done = TopicPartitionList::new();
        done.add_partition(message.topic(), message.partition());
        // Others of it may come all the same.
        let _ = consumer.pause(&done);
        times.entry(partition).or_insert_with(|| wire::timestamp(&message));
    }
    Ok(times.into_iter().filter_map(|(partition, time)| Some((partition, time?))).collect())
}
