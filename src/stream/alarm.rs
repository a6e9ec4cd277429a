//! The polling thread's part in positions that are said to be outside their logs.
//!
//! librdkafka stops fetching such a partition and says so in an error, one for each, that doesn't name it. Its statistics
//! do: the partition's fetching has stopped. So each that has stopped is asked about, and no other is touched.

use std::time::{Duration, Instant};

use rdkafka::{Statistics, consumer::Consumer as _, error::KafkaError};

use crate::record::TopicPartition;

use super::{assignment::LOCATE, error::StreamError, messages::Notice, poller::Poller};

/// How often partitions may be called out of range in this time without one that is.
const MOST_FALSE_ALARMS: usize = 10;
const FALSE_ALARMS_COUNT_FOR: Duration = Duration::from_secs(60);
/// So many statistics are looked through. The first may be from before the alarm; where the later ones show nothing, it
/// was about a partition that has halted or was taken away.
const LOOKS: u8 = 3;
/// librdkafka's word for a partition that it doesn't fetch, be it that it never began.
const STOPPED: &str = "none";

#[derive(Debug)]
pub(super) struct Alarm {
    error: KafkaError,
    looks: u8,
}

impl Poller {
    pub(super) fn sound_alarm(&mut self, error: &KafkaError) {
        self.alarm = Some(Alarm { error: error.clone(), looks: 0 });
    }

    /// Halts what is outside its log. What isn't was called so by a broker that was behind for a moment, as a new leader
    /// may be: it starts anew, as does what can't be asked about, so that none stands still unnoticed.
    pub(super) fn look_into_alarm(&mut self, statistics: &Statistics) {
        let Some(mut alarm) = self.alarm.take() else { return };
        let stopped = self.stopped(statistics);
        if stopped.is_empty() {
            alarm.looks += 1;
            self.alarm = (alarm.looks < LOOKS).then_some(alarm);
            return;
        }
        let mut to_start = Vec::new();
        for partition in stopped {
            let Some(position) = self.readings.get(&partition).map(|reading| reading.position().get()) else {
                continue;
            };
            self.progress.beat();
            match self.consumer.fetch_watermarks(&partition.topic, partition.partition, LOCATE) {
                Ok((low, high)) if position < low || position > high => self.halt(&partition, low, high),
                _ => to_start.push(partition),
            }
        }
        if !to_start.is_empty() {
            self.start_anew(to_start, &alarm.error);
        }
    }

    /// What is read and not fetched.
    fn stopped(&self, statistics: &Statistics) -> Vec<TopicPartition> {
        let is_stopped = |partition: &TopicPartition| {
            let topic = statistics.topics.get(&*partition.topic);
            let seen = topic.and_then(|topic| topic.partitions.get(&partition.partition));
            seen.is_some_and(|seen| seen.fetch_state == STOPPED)
        };
        let read = self.readings.iter().filter(|(_, reading)| !reading.is_halted());
        read.map(|(partition, _)| partition).filter(|partition| is_stopped(partition)).cloned().collect()
    }

    /// Reads partitions again from their checkpoints. librdkafka doesn't seek in one that it has stopped, so these are
    /// given up first and assigned again.
    fn start_anew(&mut self, partitions: Vec<TopicPartition>, error: &KafkaError) {
        self.false_alarms.retain(|at| at.elapsed() < FALSE_ALARMS_COUNT_FOR);
        self.false_alarms.push(Instant::now());
        if self.false_alarms.len() > MOST_FALSE_ALARMS {
            return self.fail(StreamError::EndsInDispute(error.clone()));
        }
        tracing::warn!(
            %error,
            partitions = partitions.len(),
            "but no position is outside its log: reading starts again from the checkpoints"
        );
        self.give_up(&partitions);
        let leases = self.leases.grant(partitions);
        self.discard_ended();
        self.tell(Notice::Granted(leases));
    }
}
