//! What happens when the group hands partitions out or takes them back. Runs on the polling thread, inside `poll`.
//!
//! A granted partition isn't read at once, because only Postgres knows from where. The callback acknowledges the
//! rebalance with an assignment that leaves it out and asks the pipeline; the polling thread assigns it, with an
//! explicit offset, when the answer is there. So the callback never waits for the database, and nothing is ever read
//! from a place that Kafka chose.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::record::TopicPartition;

use super::{client::LogToTracing, lease::Leases, messages::Notice};

/// How long a revocation waits for a commit that is under way.
const PATIENCE: Duration = Duration::from_secs(3);

/// What librdkafka calls back, and what the polling thread picks up after each poll.
pub(super) struct Callbacks {
    leases: Arc<Leases>,
    notices: UnboundedSender<Notice>,
    log: LogToTracing,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What librdkafka fetches now: granted, and started with an offset.
    started: HashSet<TopicPartition>,
    revoked: Vec<TopicPartition>,
    statistics: Option<Statistics>,
    /// What the group gave us.
    granted: HashSet<TopicPartition>,
    /// Whether `granted` is the group's last word: a revocation is always followed by an assignment, be it empty.
    settled: bool,
    /// Kafka did not take offsets that it was told, since this was asked last.
    refused_offsets: bool,
}

impl Callbacks {
    pub(super) fn new(leases: Arc<Leases>, notices: UnboundedSender<Notice>) -> Self {
        Self { leases, notices, log: LogToTracing::default(), shared: Mutex::default() }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mark_started(&self, partition: &TopicPartition) {
        self.shared().started.insert(partition.clone());
    }

    pub(super) fn mark_stopped(&self, partition: &TopicPartition) {
        self.shared().started.remove(partition);
    }

    pub(super) fn take_revoked(&self) -> Vec<TopicPartition> {
        std::mem::take(&mut self.shared().revoked)
    }

    pub(super) fn take_statistics(&self) -> Option<Statistics> {
        self.shared().statistics.take()
    }

    pub(super) fn refuse_offsets(&self, error: &KafkaError) {
        tracing::debug!(%error, "Kafka did not take the committed offsets");
        self.shared().refused_offsets = true;
    }

    pub(super) fn take_refused_offsets(&self) -> bool {
        std::mem::take(&mut self.shared().refused_offsets)
    }

    /// How many partitions the group gave us; none before it has answered, and while it rebalances.
    pub(super) fn granted(&self) -> Option<usize> {
        let shared = self.shared();
        shared.settled.then(|| shared.granted.len())
    }

    /// What the group gave us, also what isn't read yet.
    pub(super) fn all_granted(&self) -> Vec<TopicPartition> {
        self.shared().granted.iter().cloned().collect()
    }

    /// Grants partitions that no group is asked about.
    pub(super) fn grant_alone(&self, partitions: Vec<TopicPartition>) {
        {
            let mut shared = self.shared();
            shared.granted.extend(partitions.iter().cloned());
            shared.settled = true;
        }
        let leases = self.leases.grant(partitions);
        // The receiver is gone only when the process stops.
        let _ = self.notices.send(Notice::Granted(leases));
    }

    fn grant(&self, consumer: &BaseConsumer<Self>, partitions: Vec<TopicPartition>) -> KafkaResult<()> {
        tracing::info!(partitions = partitions.len(), "partitions assigned");
        self.grant_alone(partitions);
        let nothing_yet = TopicPartitionList::new();
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&nothing_yet),
            _ => consumer.assign(&nothing_yet),
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: Vec<TopicPartition>) -> KafkaResult<()> {
        let lost = consumer.assignment_lost();
        tracing::info!(partitions = partitions.len(), lost, "partitions revoked");
        // Where they are lost, somebody else has them already: there is nothing to hand over in good order.
        self.leases.end(&partitions, if lost { Duration::ZERO } else { PATIENCE });
        let mut shared = self.shared();
        shared.settled = false;
        let mut fetched = TopicPartitionList::new();
        for partition in &partitions {
            shared.granted.remove(partition);
            if shared.started.remove(partition) {
                fetched.add_partition(&partition.topic, partition.partition);
            }
        }
        shared.revoked.extend(partitions);
        drop(shared);
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&fetched),
            _ => consumer.unassign(),
        }
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.shared().statistics = Some(statistics);
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<_> =
            list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect();
        let result = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.grant(consumer, partitions)
        } else {
            self.revoke(consumer, partitions)
        };
        if let Err(error) = result {
            // librdkafka leaves the group and joins it again; a new grant follows.
            tracing::warn!(%error, "the group's assignment could not be taken over");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // The checkpoints decide; Kafka's offsets follow later.
            self.refuse_offsets(&error);
        }
    }
}
