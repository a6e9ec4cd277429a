//! The polling thread's part in librdkafka's statistics: how far away the ends of the logs are, which partitions have a
//! broker that answers, and which are read beyond their logs.

use std::time::Instant;

use rdkafka::{
    Statistics,
    consumer::Consumer as _,
    statistics::{Broker, Partition},
};

use super::{
    poller::Poller,
    reading::Reading,
    standing::{BrokerStanding, PartitionStanding, ReadStanding},
};

impl Poller {
    /// Takes in the statistics: tells how reading stands and where the logs end, and halts what is beyond its log.
    pub(super) fn observe(&mut self, statistics: &Statistics) {
        // What is held back is not silence.
        let paused = self.paused || std::mem::take(&mut self.held_back);
        if self.consumer.context().take_refused_offsets() {
            self.readings.values_mut().for_each(Reading::may_be_refused);
        }
        let mut standing = self.standing_of_group(statistics);
        let mut ends = Vec::new();
        let mut untold = Vec::new();
        let mut beyond = Vec::new();
        for (partition, reading) in &mut self.readings {
            if self.queues.is_waiting(partition) {
                reading.has_records_waiting();
            }
            let topic = statistics.topics.get(&*partition.topic);
            let seen = topic.and_then(|topic| topic.partitions.get(&partition.partition));
            // Without the leader's answers, what is known of the end is old.
            let connected = seen.is_some_and(|seen| {
                statistics.brokers.values().any(|broker| broker.nodeid == seen.leader && is_up(broker))
            });
            let is_full = |seen: &Partition| seen.fetchq_size >= self.most_fetched_ahead;
            let lag = seen.and_then(|seen| reading.observe(seen, paused || is_full(seen)));
            standing.partitions.insert(partition.clone(), reading.standing(seen, lag, connected));
            let Some(seen) = seen else { continue };
            if lag.is_some()
                && connected
                && let Some(end) = reading.end_of_log(seen)
            {
                ends.push((partition.clone(), end));
                untold.extend(reading.untold(end).cloned());
            }
            if reading.is_beyond_the_log() {
                beyond.push((partition.clone(), seen.lo_offset, seen.hi_offset));
            }
        }
        self.progress.set_standing(standing);
        self.progress.set_log_ends(ends);
        self.commit(&untold);
        for (partition, low, high) in beyond {
            self.halt(&partition, low, high);
        }
        self.look_into_alarm(statistics);
    }

    /// What the group has given us, as if none of it were read.
    fn standing_of_group(&self, statistics: &Statistics) -> ReadStanding {
        // The others are addresses that are asked first, and the group's coordinator, which is one of these.
        let is_broker = |broker: &&Broker| broker.nodeid >= 0 && broker.source != "logical";
        let brokers = || statistics.brokers.values().filter(is_broker);
        let (known, connected) = (brokers().count(), brokers().filter(|broker| is_up(broker)).count());
        let context = self.consumer.context();
        let not_begun = PartitionStanding {
            position: None,
            lag: None,
            last_record_at: None,
            last_at_end: None,
            halted: false,
            connected: connected > 0,
        };
        ReadStanding {
            assigned: context.granted(),
            partitions: context.all_granted().into_iter().map(|partition| (partition, not_begun)).collect(),
            brokers: Some(BrokerStanding { seen_at: Instant::now(), known, connected }),
        }
    }
}

fn is_up(broker: &Broker) -> bool {
    broker.state == "UP"
}
