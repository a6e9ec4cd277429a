//! a: librdkafka alone. No consumer that is built on it can be faster.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::BorrowedMessage,
};

use crate::{
    backlog::{PARTITIONS, Topics},
    measured::Measured,
};

/// What the program sets where it matters to the speed; see `src/stream/member.rs` and `client.rs`. All partitions share
/// one queue here, which holds as much as theirs together.
const AS_THE_PROGRAM: [(&str, &str); 6] = [
    ("queued.max.messages.kbytes", "12288"),
    ("max.partition.fetch.bytes", "131072"),
    ("fetch.max.bytes", "262144"),
    ("message.max.bytes", "262144"),
    ("fetch.queue.backoff.ms", "2"),
    ("enable.metrics.push", "false"),
];

/// Without a record for this long, it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn measure(brokers: &str, topics: &Topics, records: u64) -> Result<Measured> {
    let mut first = None;
    read(brokers, topics, records, |_| {
        first.get_or_insert_with(Instant::now);
    })?;
    let seconds = first.map_or(0.0, |first| first.elapsed().as_secs_f64());
    Ok(Measured { records, seconds, peak_bytes: None })
}

/// Reads that many records of all partitions, from their beginnings.
pub fn read(brokers: &str, topics: &Topics, records: u64, mut take: impl FnMut(&BorrowedMessage<'_>)) -> Result<()> {
    let mut settings = ClientConfig::new();
    for (property, value) in AS_THE_PROGRAM {
        settings.set(property, value);
    }
    settings.set("bootstrap.servers", brokers).set("group.id", "bench-alone").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = settings.create()?;
    let mut partitions = TopicPartitionList::new();
    for topic in topics.names() {
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(&topic, partition, Offset::Offset(0))?;
        }
    }
    consumer.assign(&partitions)?;
    let mut left = records;
    while left > 0 {
        match consumer.poll(PATIENCE) {
            Some(message) => take(&message?),
            None => bail!("{left} of {records} records did not come"),
        }
        left -= 1;
    }
    Ok(())
}
