//! How reading stands, for those who ask whether it goes on.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::{
    event::RecordTimestamp,
    record::{NextOffset, TopicPartition},
};

/// What the group has given this member, and how far each of it was read.
#[derive(Clone, Debug, Default)]
pub struct ReadStanding {
    /// How many partitions the group gave; none before it has answered, and while it rebalances.
    pub assigned: Option<usize>,
    pub partitions: BTreeMap<TopicPartition, PartitionStanding>,
    /// What is known of the brokers; none before librdkafka's first statistics.
    pub brokers: Option<BrokerStanding>,
}

/// How one partition is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStanding {
    /// The next record to be read; none where it was given and reading hasn't begun.
    pub position: Option<NextOffset>,
    /// Records between the position and the end of the log; none before Kafka told the end.
    pub lag: Option<u64>,
    /// Of the last record that was read since the partition was given.
    pub last_record_at: Option<RecordTimestamp>,
    /// When it was last known to be read to its end.
    pub last_at_end: Option<DateTime<Utc>>,
    /// Its checkpoint lies outside its log: nothing is read until somebody decides.
    pub halted: bool,
    /// Whether a broker that could answer is connected.
    pub connected: bool,
}

impl PartitionStanding {
    /// How long the next unread record can have waited at most: it was written after the last one that was read, and
    /// after the end was last reached. Zero where nothing is unread; none where nobody knows.
    pub fn behind(&self, now: DateTime<Utc>) -> Option<Duration> {
        if self.lag? == 0 {
            return Some(Duration::ZERO);
        }
        let read = self.last_record_at.and_then(|at| at.as_utc());
        let since = read.into_iter().chain(self.last_at_end).max()?;
        // A producer's clock may be ahead of ours.
        Some((now - since).to_std().unwrap_or_default())
    }
}

/// The brokers as librdkafka told of them.
#[derive(Clone, Copy, Debug)]
pub struct BrokerStanding {
    pub seen_at: Instant,
    pub known: usize,
    pub connected: usize,
}
