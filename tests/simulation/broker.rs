//! Kafka in memory: the logs, the group's committed offsets, and who owns which partition.

use std::collections::{BTreeMap, HashSet};

use sessionfold::{
    event::{Decoded, Decoder},
    record::{NextOffset, Record, TopicPartition},
};

use crate::records::IGNORED_KIND;

pub const PARTITIONS: usize = 3;

pub fn partition(number: usize) -> TopicPartition {
    TopicPartition::new("events", i32::try_from(number).unwrap())
}

pub fn number_of(partition: &TopicPartition) -> usize {
    usize::try_from(partition.partition).unwrap()
}

pub struct Broker {
    logs: Vec<Vec<(Record, Decoded)>>,
    decoder: Decoder,
    committed: BTreeMap<TopicPartition, NextOffset>,
    /// The member that the group gave each partition to; none while it waits for one.
    pub owners: Vec<Option<usize>>,
}

impl Broker {
    pub fn new() -> Self {
        Self {
            logs: vec![Vec::new(); PARTITIONS],
            decoder: Decoder { ignored_kinds: HashSet::from([IGNORED_KIND.to_owned()]), ..Decoder::default() },
            committed: BTreeMap::new(),
            owners: vec![None; PARTITIONS],
        }
    }

    /// Appends a record. It is decoded by the production code, once: decoding is pure.
    pub fn append(&mut self, partition: usize, record: Record) {
        let decoded = self.decoder.decode(record.wire());
        self.logs[partition].push((record, decoded));
    }

    pub fn read(&self, partition: &TopicPartition, offset: NextOffset) -> Option<(Record, Decoded)> {
        self.logs[number_of(partition)].get(usize::try_from(offset.get()).unwrap()).cloned()
    }

    pub fn end(&self, partition: &TopicPartition) -> NextOffset {
        NextOffset::new(i64::try_from(self.logs[number_of(partition)].len()).unwrap())
    }

    pub fn committed(&self, partition: &TopicPartition) -> Option<NextOffset> {
        self.committed.get(partition).copied()
    }

    /// The group takes offsets from the partition's owner only.
    pub fn commit(&mut self, member: usize, partition: &TopicPartition, next: NextOffset) {
        if self.owners[number_of(partition)] == Some(member) {
            self.committed.insert(partition.clone(), next);
        }
    }
}
