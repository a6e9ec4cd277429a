//! The polling thread's part in assignments: where a granted partition starts, when it starts anew, when it halts.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer as _, RebalanceProtocol},
    error::KafkaError,
};

use crate::record::{NextOffset, TopicPartition};

use super::{
    error::StreamError,
    lease::Lease,
    messages::Notice,
    poller::{Poller, list},
    reading::Reading,
};

/// How long Kafka may take to answer a question about a partition.
const LOCATE: Duration = Duration::from_secs(10);

impl Poller {
    pub(super) fn locate(&mut self, leases: Vec<Lease>) {
        let notice = match self.ask_where_to_start(&leases) {
            Ok(offsets) => Notice::Located(leases.into_iter().zip(offsets).collect()),
            Err(error) => Notice::NotLocated(leases, StreamError::Locate(error)),
        };
        self.tell(notice);
    }

    /// Kafka's committed offset, or the first offset of the log where there is none.
    fn ask_where_to_start(&self, leases: &[Lease]) -> Result<Vec<NextOffset>, KafkaError> {
        let asked = list(leases.iter().map(Lease::partition));
        let committed = self.consumer.committed_offsets(asked, LOCATE)?;
        let start = |lease: &Lease| {
            let TopicPartition { topic, partition } = lease.partition();
            match committed.find_partition(topic, *partition).map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => Ok(NextOffset::new(offset)),
                _ => self.consumer.fetch_watermarks(topic, *partition, LOCATE).map(|(low, _)| NextOffset::new(low)),
            }
        };
        leases.iter().map(start).collect()
    }

    /// Assigns, or seeks where a partition was assigned before.
    pub(super) fn start(&mut self, positions: Vec<(Lease, NextOffset)>) {
        let current: Vec<_> = positions.into_iter().filter(|(lease, _)| self.leases.is_current(lease)).collect();
        if let Err(error) = self.assign_or_seek(&current) {
            // librdkafka is about to tell of a rebalance that it knows of already; if it isn't, the next try succeeds.
            tracing::warn!(%error, "partitions can't be started yet");
            return self.tell(Notice::Granted(current.into_iter().map(|(lease, _)| lease).collect()));
        }
        for (lease, position) in current {
            tracing::debug!(partition = %lease.partition(), %position, "reading starts at the checkpoint");
            self.readings.insert(lease.partition().clone(), Reading::new(lease, position));
        }
        if self.paused {
            self.pause();
        }
    }

    fn assign_or_seek(&self, positions: &[(Lease, NextOffset)]) -> Result<(), KafkaError> {
        let mut new = TopicPartitionList::new();
        for (lease, position) in positions {
            let TopicPartition { topic, partition } = lease.partition();
            let offset = Offset::Offset(position.get());
            if self.readings.contains_key(lease.partition()) {
                self.seek(lease.partition(), offset)?;
            } else {
                new.add_partition_offset(topic, *partition, offset)?;
            }
        }
        if new.count() > 0 { self.assign(new) } else { Ok(()) }
    }

    fn seek(&self, partition: &TopicPartition, offset: Offset) -> Result<(), KafkaError> {
        self.consumer.seek(&partition.topic, partition.partition, offset, LOCATE)?;
        self.consumer.resume(&list([partition]))
    }

    fn assign(&self, new: TopicPartitionList) -> Result<(), KafkaError> {
        let started: Vec<_> =
            new.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect();
        match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&new)?,
            // The eager protocol knows only whole assignments.
            _ => {
                let mut all = new;
                for (partition, reading) in &self.readings {
                    let offset = Offset::Offset(reading.position().get());
                    all.add_partition_offset(&partition.topic, partition.partition, offset)?;
                }
                self.consumer.assign(&all)?;
            }
        }
        started.iter().for_each(|partition| self.consumer.context().mark_started(partition));
        Ok(())
    }

    pub(super) fn restart(&mut self, partitions: &[TopicPartition]) {
        let assigned: Vec<_> =
            partitions.iter().filter(|partition| self.readings.contains_key(*partition)).cloned().collect();
        if assigned.is_empty() {
            return;
        }
        // What still comes is not taken, so it does no harm if this fails.
        let _ = self.consumer.pause(&list(&assigned));
        for partition in &assigned {
            self.readings.entry(partition.clone()).and_modify(Reading::suspend);
        }
        let leases = self.leases.grant(assigned);
        self.discard_ended();
        self.tell(Notice::Granted(leases));
    }

    /// Lets go of what was read under leases that have ended.
    fn discard_ended(&mut self) {
        let leases = &self.leases;
        let discarded = self.builder.discard(|lease| !leases.is_current(lease));
        self.progress.add_discarded(discarded);
    }

    pub(super) fn forget_revoked(&mut self) {
        let revoked = self.consumer.context().take_revoked();
        if revoked.is_empty() {
            return;
        }
        for partition in &revoked {
            self.readings.remove(partition);
            self.committed.remove(partition);
        }
        self.discard_ended();
    }

    /// Some partition's position is outside the log; the error doesn't say which one's.
    pub(super) fn halt_outside_the_log(&mut self) {
        let partitions: Vec<_> = self.readings.keys().cloned().collect();
        for partition in partitions {
            match self.consumer.fetch_watermarks(&partition.topic, partition.partition, LOCATE) {
                Ok((low, high)) => {
                    let position = self.readings.get(&partition).map(|reading| reading.position().get());
                    if position.is_some_and(|position| position < low || position > high) {
                        self.halt(&partition, low, high);
                    }
                }
                Err(error) => tracing::warn!(%partition, %error, "the ends of the log could not be asked for"),
            }
        }
    }

    pub(super) fn halt(&mut self, partition: &TopicPartition, low: i64, high: i64) {
        let Some(reading) = self.readings.get_mut(partition) else { return };
        if reading.halt() {
            let checkpoint = reading.position();
            let _ = self.consumer.pause(&list([partition]));
            self.tell(Notice::Halted(StreamError::OutsideTheLog {
                partition: partition.clone(),
                checkpoint,
                low,
                high,
            }));
        }
    }
}
