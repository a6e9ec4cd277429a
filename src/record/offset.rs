//! Two kinds of offset that must not be confused: a record's own, and the next one to read.

use std::{fmt, sync::Arc};

/// A partition of a topic. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// Where a record stands in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordOffset(i64);

impl RecordOffset {
    pub fn new(offset: i64) -> Self {
        Self(offset)
    }

    pub fn get(self) -> i64 {
        self.0
    }

    /// Where reading goes on after this record.
    pub fn next(self) -> NextOffset {
        NextOffset(self.0 + 1)
    }
}

/// Where reading goes on: everything before it is done. What checkpoints and Kafka's committed offsets hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextOffset(i64);

impl NextOffset {
    pub fn new(offset: i64) -> Self {
        Self(offset)
    }

    pub fn get(self) -> i64 {
        self.0
    }

    /// Whether the record was read before.
    pub fn is_past(self, record: RecordOffset) -> bool {
        record.0 < self.0
    }
}

impl fmt::Display for NextOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
