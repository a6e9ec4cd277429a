//! Places in logs, found exactly: where a log ends, and where a time is.
//!
//! A broker's answers to ListOffsets are taken as hints. Some brokers answer with the beginning of the last batch instead
//! of the log's end, or with the log's beginning for a time after its last record.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use crate::{
    config::KafkaConfig,
    record::{NextOffset, RecordOffset, TopicPartition},
};

use super::{
    client::{self, LogToTracing},
    error::StreamError,
    log_ends::LogEnds,
    log_reader::{LogRange, read_messages},
};

/// Where the next record of each partition will stand, seen by reading from where the broker says so. Blocks.
///
/// # Errors
/// If Kafka can't be read.
pub fn exact_log_ends(
    config: &KafkaConfig,
    ends: &[LogEnds],
) -> Result<HashMap<TopicPartition, NextOffset>, StreamError> {
    let to_the_end = |ends: &LogEnds| LogRange {
        partition: ends.partition.clone(),
        from: ends.latest,
        to: NextOffset::new(i64::MAX),
    };
    let ranges: Vec<LogRange> = ends.iter().map(to_the_end).collect();
    let mut found: HashMap<_, _> = ends.iter().map(|ends| (ends.partition.clone(), ends.latest)).collect();
    read_messages(config, &ranges, |partition, message| {
        found.insert(partition.clone(), RecordOffset::new(message.offset()).next());
    })?;
    Ok(found)
}

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
        client::base(config).set("group.id", &config.group_id).create_with_context(LogToTracing::default())?;
    let answered = consumer.offsets_for_times(asked, timeout)?;
    let mut found = ends.clone();
    for (partition, place) in &mut found {
        if let Some(Offset::Offset(offset)) =
            answered.find_partition(&partition.topic, partition.partition).map(|element| element.offset())
        {
            *place = NextOffset::new(offset).min(*place);
        }
    }
    let before = older_than(config, &found, ends, time)?;
    for partition in before {
        let end = ends[&partition];
        found.insert(partition, end);
    }
    Ok(found)
}

/// Where the record that was found is older than what was asked for, so that it is no answer.
fn older_than(
    config: &KafkaConfig,
    found: &HashMap<TopicPartition, NextOffset>,
    ends: &HashMap<TopicPartition, NextOffset>,
    time: DateTime<Utc>,
) -> Result<Vec<TopicPartition>, StreamError> {
    let one_record = |(partition, from): (&TopicPartition, &NextOffset)| {
        let to = RecordOffset::new(from.get()).next();
        (to <= ends[partition]).then(|| LogRange { partition: partition.clone(), from: *from, to })
    };
    let ranges: Vec<LogRange> = found.iter().filter_map(one_record).collect();
    let mut older = Vec::new();
    read_messages(config, &ranges, |partition, message| {
        if message.timestamp().to_millis().is_some_and(|millis| millis < time.timestamp_millis()) {
            older.push(partition.clone());
        }
    })?;
    Ok(older)
}
