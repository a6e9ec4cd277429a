//! How reading stands, for those who ask whether it goes on.

use std::{collections::BTreeMap, time::Instant};

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
    /// Its checkpoint lies outside its log: nothing is read until somebody decides.
    pub halted: bool,
    /// Whether a broker that could answer is connected.
    pub connected: bool,
}

/// The brokers as librdkafka told of them.
#[derive(Clone, Copy, Debug)]
pub struct BrokerStanding {
    pub seen_at: Instant,
    pub known: usize,
    pub connected: usize,
}
