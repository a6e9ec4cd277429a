//! Places in logs, found exactly: where a log ends, and where a time is.
//!
//! A broker's answers to ListOffsets are taken as hints. Some brokers answer with the beginning of a batch instead of the
//! record in it, or with the log's beginning for a time after its last record.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use rdkafka::{
    ClientContext, Message, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
};
use uuid::Uuid;

use crate::{
    config::KafkaConfig,
    record::{NextOffset, TopicPartition},
};

use super::{
    client::{self, LogToTracing},
    error::StreamError,
    log_ends::LogEnds,
    log_reader::{LogRange, read_messages},
};

const POLL: Duration = Duration::from_millis(50);

/// Where the next record of each partition will stand, as the answer to a fetch says; at least where the broker says. A
/// partition that can't be fetched from within `timeout` is left out. Blocks.
///
/// # Errors
/// If Kafka can't be read.
pub(super) fn exact_log_ends<'e>(
    config: &KafkaConfig,
    ends: impl Iterator<Item = &'e LogEnds>,
    timeout: Duration,
) -> Result<HashMap<TopicPartition, NextOffset>, StreamError> {
    let ends: Vec<&LogEnds> = ends.collect();
    if ends.is_empty() {
        return Ok(HashMap::new());
    }
    let preferred = [("allow.auto.create.topics", "false"), ("fetch.wait.max.ms", "25")];
    let mut settings = client::consumer(config, &preferred);
    settings
        .set("group.id", format!("sessionfold-reader-{}", Uuid::now_v7()))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("statistics.interval.ms", "50");
    let consumer: BaseConsumer<LastStatistics> = settings.create_with_context(LastStatistics::default())?;
    let mut list = TopicPartitionList::new();
    for LogEnds { partition, latest, .. } in &ends {
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(latest.get()))?;
    }
    consumer.assign(&list).map_err(StreamError::Assign)?;
    let (begun, mut found) = (Instant::now(), HashMap::new());
    while found.len() < ends.len() && begun.elapsed() < timeout {
        // What is fetched is of no interest, but that it was.
        let _ = consumer.poll(POLL);
        if let Some(statistics) = consumer.context().take() {
            found.extend(high_watermarks(&statistics, &ends));
        }
    }
    Ok(found)
}

/// Of the partitions that were fetched from.
fn high_watermarks(statistics: &Statistics, ends: &[&LogEnds]) -> Vec<(TopicPartition, NextOffset)> {
    let high = |LogEnds { partition, latest, .. }: &&LogEnds| {
        let seen = statistics.topics.get(&*partition.topic)?.partitions.get(&partition.partition)?;
        (seen.hi_offset >= 0).then(|| (partition.clone(), NextOffset::new(seen.hi_offset).max(*latest)))
    };
    ends.iter().filter_map(high).collect()
}

#[derive(Default)]
struct LastStatistics {
    log: LogToTracing,
    statistics: Mutex<Option<Statistics>>,
}

impl LastStatistics {
    fn take(&self) -> Option<Statistics> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for LastStatistics {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner) = Some(statistics);
    }
}

impl ConsumerContext for LastStatistics {}

/// The first record of each partition whose timestamp is not before `time`, or the log's end where there is none. Records
/// behind it may be older: timestamps are the producers'. Blocks; a request takes up to `timeout`.
///
/// # Errors
/// If Kafka can't be asked or read.
pub fn offsets_at(
    config: &KafkaConfig,
    ends: &HashMap<TopicPartition, NextOffset>,
    time: DateTime<Utc>,
    timeout: Duration,
) -> Result<HashMap<TopicPartition, NextOffset>, StreamError> {
    let mut asked = TopicPartitionList::new();
    for partition in ends.keys() {
        asked.add_partition_offset(
            &partition.topic,
            partition.partition,
            Offset::Offset(time.timestamp_millis().max(0)),
        )?;
    }
    let consumer: BaseConsumer<LogToTracing> =
        client::consumer(config, &[]).set("group.id", &config.group_id).create_with_context(LogToTracing::default())?;
    let answered = consumer.offsets_for_times(asked, timeout)?;
    let mut found = ends.clone();
    for (partition, place) in &mut found {
        if let Some(Offset::Offset(offset)) =
            answered.find_partition(&partition.topic, partition.partition).map(|element| element.offset())
        {
            *place = NextOffset::new(offset).min(*place);
        }
    }
    let exact = first_not_older(config, &found, ends, time)?;
    for (partition, place) in &mut found {
        *place = exact.get(partition).copied().unwrap_or(ends[partition]);
    }
    Ok(found)
}

/// Reads from where the broker says so to the first record that is not older; normally that is the first one.
fn first_not_older(
    config: &KafkaConfig,
    found: &HashMap<TopicPartition, NextOffset>,
    ends: &HashMap<TopicPartition, NextOffset>,
    time: DateTime<Utc>,
) -> Result<HashMap<TopicPartition, NextOffset>, StreamError> {
    let range = |(partition, from): (&TopicPartition, &NextOffset)| LogRange {
        partition: partition.clone(),
        from: *from,
        to: ends[partition],
    };
    let ranges: Vec<LogRange> = found.iter().map(range).collect();
    let mut exact = HashMap::new();
    read_messages(config, &ranges, |partition, message| {
        if message.timestamp().to_millis().is_some_and(|millis| millis < time.timestamp_millis()) {
            return ControlFlow::Continue(());
        }
        exact.insert(partition.clone(), NextOffset::new(message.offset()));
        ControlFlow::Break(())
    })?;
    Ok(exact)
}
