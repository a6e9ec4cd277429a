//! The polling thread's part in assignments: where a granted partition starts, when it starts anew, when it halts.

use std::{thread, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer as _, RebalanceProtocol},
    error::KafkaError,
};

use crate::{
    event::Decoder,
    record::{NextOffset, TopicPartition},
    store::Checkpoint,
};

use super::{
    error::StreamError,
    lanes::Share,
    lease::Lease,
    log_ends::committed_offsets,
    messages::Notice,
    poller::{Poller, list},
    reading::Reading,
    topics::count_partitions,
};

/// How long Kafka may take to answer a question about a partition.
pub(super) const LOCATE: Duration = Duration::from_secs(10);
/// And how many there are, which is only for speed.
const COUNT: Duration = Duration::from_secs(2);
/// How often in a row an assignment may be refused, and how long to wait in between.
const MOST_REFUSED_STARTS: u32 = 100;
const BETWEEN_STARTS: Duration = Duration::from_millis(100);

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
        let committed = committed_offsets(&self.consumer, leases.iter().map(Lease::partition), LOCATE)?;
        let start = |lease: &Lease| {
            self.progress.beat();
            let TopicPartition { topic, partition } = lease.partition();
            let Some(offset) = committed.get(lease.partition()).copied() else {
                return self.consumer.fetch_watermarks(topic, *partition, LOCATE).map(|(low, _)| NextOffset::new(low));
            };
            tracing::warn!(
                partition = %lease.partition(),
                offset = offset.get(),
                "no checkpoint: starting at Kafka's committed offset; earlier records are not in these tables"
            );
            Ok(offset)
        };
        leases.iter().map(start).collect()
    }

    /// Assigns, or seeks where a partition was assigned before.
    pub(super) fn start(&mut self, starts: Vec<(Lease, Checkpoint)>) {
        let current = starts.into_iter().filter(|(lease, _)| self.leases.is_current(lease));
        let (known, new): (Vec<_>, Vec<_>) =
            current.partition(|(lease, _)| self.readings.contains_key(lease.partition()));
        let leases: Vec<Lease> = known.iter().chain(&new).map(|(lease, _)| lease.clone()).collect();
        if let Err(error) = self.seek_all(known).and_then(|()| self.assign(new)) {
            return self.start_later(leases, error);
        }
        self.refused_starts = 0;
        if self.paused {
            self.stop_fetching();
        }
    }

    /// librdkafka refuses an assignment while it is about to tell of the next rebalance, which makes this one void.
    fn start_later(&mut self, leases: Vec<Lease>, error: KafkaError) {
        self.refused_starts += 1;
        if self.refused_starts > MOST_REFUSED_STARTS {
            return self.fail(StreamError::Assign(error));
        }
        tracing::warn!(%error, "partitions can't be started yet");
        thread::sleep(BETWEEN_STARTS);
        self.tell(Notice::Granted(leases));
    }

    fn seek_all(&mut self, starts: Vec<(Lease, Checkpoint)>) -> Result<(), KafkaError> {
        for (lease, checkpoint) in starts {
            self.progress.beat();
            let partition = lease.partition().clone();
            let offset = Offset::Offset(checkpoint.next().get());
            self.consumer.seek(&partition.topic, partition.partition, offset, LOCATE)?;
            self.consumer.resume(&list([&partition]))?;
            self.queues.moved(&partition);
            self.begin_reading(partition, lease, checkpoint);
        }
        Ok(())
    }

    fn begin_reading(&mut self, partition: TopicPartition, lease: Lease, checkpoint: Checkpoint) {
        let end = self.ends.get(&partition).copied();
        let kept_before = self.kept_before.get(&partition).copied();
        let lane = self.lanes.choose(&partition);
        let reading = Reading::new(lease, lane, checkpoint, end).keeping_records_before(kept_before);
        self.readings.insert(partition, reading);
    }

    fn assign(&mut self, starts: Vec<(Lease, Checkpoint)>) -> Result<(), KafkaError> {
        if starts.is_empty() {
            return Ok(());
        }
        self.share_lanes();
        let mut assignment = TopicPartitionList::new();
        for (lease, checkpoint) in &starts {
            add(&mut assignment, lease.partition(), checkpoint.next())?;
            self.queues.open(&self.consumer, lease.partition(), &thread::current());
        }
        match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&assignment)?,
            _ => self.assign_what_is_read(assignment)?,
        }
        // librdkafka remembers a pause from an earlier assignment.
        self.consumer.resume(&list(starts.iter().map(|(lease, _)| lease.partition())))?;
        for (lease, checkpoint) in starts {
            let partition = lease.partition().clone();
            tracing::debug!(%partition, position = %checkpoint.next(), "reading starts");
            self.consumer.context().mark_started(&partition);
            self.begin_reading(partition, lease, checkpoint);
        }
        Ok(())
    }

    /// Uses as many lanes as are this member's part of the group's, while no partition has one yet. Where partitions come
    /// and go one by one, each keeps the lane of its number, and so all lanes are used, as they are without a group.
    fn share_lanes(&mut self) {
        if !self.readings.is_empty() {
            return;
        }
        let share = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Eager => self.share(),
            RebalanceProtocol::Cooperative | RebalanceProtocol::None => None,
        };
        let lanes = self.lanes.use_share(share);
        tracing::debug!(lanes, "lanes in use");
    }

    /// None where it isn't known, or there is no group.
    pub(super) fn share(&self) -> Option<Share> {
        let topics = &self.group.as_ref()?.topics;
        self.progress.beat();
        let held = self.consumer.context().all_granted().len();
        match count_partitions(&self.consumer, topics, COUNT) {
            Ok(of_all) => Some(Share { held, of_all }),
            Err(error) => {
                tracing::info!(%error, "how many partitions the topics have isn't known");
                None
            }
        }
    }

    /// Assigns these and all that are read: the eager protocol knows only whole assignments.
    pub(super) fn assign_what_is_read(&self, mut assignment: TopicPartitionList) -> Result<(), KafkaError> {
        for (partition, reading) in &self.readings {
            add(&mut assignment, partition, reading.position())?;
        }
        self.consumer.assign(&assignment)
    }

    pub(super) fn restart(&mut self, partitions: &[TopicPartition]) {
        let assigned: Vec<_> =
            partitions.iter().filter(|partition| self.readings.contains_key(*partition)).cloned().collect();
        if assigned.is_empty() {
            return;
        }
        self.grant_anew(assigned);
    }

    /// As far as was asked for once, however often: what is read again to the same end is read with its records.
    pub(super) fn keep_records_before(&mut self, before: Vec<(TopicPartition, NextOffset)>) {
        for (partition, end) in before {
            let known = self.kept_before.entry(partition).or_insert(end);
            *known = end.max(*known);
        }
    }

    /// Grants everything anew, also what was granted before and never started: nobody may be left who would start it.
    pub(super) fn renew(&mut self, decoder: Decoder, keep_records: bool) {
        self.intake.use_settings(decoder, keep_records);
        // What was drained went into other tables.
        self.group_drain = None;
        self.give_up_halted();
        self.grant_anew(self.consumer.context().all_granted());
    }

    /// librdkafka doesn't seek in a partition that it has stopped to fetch; one that is assigned again begins where it is
    /// told to.
    fn give_up_halted(&mut self) {
        let halted: Vec<TopicPartition> =
            self.readings.iter().filter(|(_, reading)| reading.is_halted()).map(|(one, _)| one.clone()).collect();
        if !halted.is_empty() {
            self.give_up(&halted);
        }
    }

    /// Ends the reading of partitions that the group leaves with us.
    pub(super) fn give_up(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.readings.remove(partition);
            self.consumer.context().mark_stopped(partition);
        }
        let given_up = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_unassign(&list(partitions)),
            _ => self.assign_what_is_read(TopicPartitionList::new()),
        };
        if let Err(error) = given_up {
            tracing::debug!(%error, "a rebalance is about to give the partitions up");
        }
        partitions.iter().for_each(|partition| self.queues.close(partition));
    }

    fn grant_anew(&mut self, partitions: Vec<TopicPartition>) {
        // What still comes is not taken, so it does no harm if this fails.
        let _ = self.consumer.pause(&list(partitions.iter().filter(|one| self.readings.contains_key(*one))));
        for partition in &partitions {
            self.readings.entry(partition.clone()).and_modify(Reading::suspend);
        }
        let leases = self.leases.grant(partitions);
        self.discard_ended();
        self.tell(Notice::Granted(leases));
    }

    /// Lets go of what was read under leases that have ended.
    pub(super) fn discard_ended(&mut self) {
        let leases = &self.leases;
        let discarded = self.lanes.discard(|lease| !leases.is_current(lease));
        self.progress.add_discarded(discarded);
    }

    pub(super) fn forget_revoked(&mut self) {
        let revoked = self.consumer.context().take_revoked();
        if revoked.is_empty() {
            return;
        }
        for partition in &revoked {
            self.readings.remove(partition);
            self.queues.close(partition);
            self.kept_before.remove(partition);
        }
        self.progress.forget(&revoked);
        self.discard_ended();
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

fn add(list: &mut TopicPartitionList, partition: &TopicPartition, position: NextOffset) -> Result<(), KafkaError> {
    list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(position.get()))
}
