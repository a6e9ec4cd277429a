//! librdkafka's client as a consumer, in the group or alone, set up so that nothing is read or committed but what we say.

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use uuid::Uuid;

use crate::config::KafkaConfig;

use super::{
    client::consumer,
    error::StreamError,
    options::{ConsumerOptions, Membership, Until},
    rebalance::Callbacks,
};

/// Settings unless the user has others.
const PREFERRED: [(&str, &str); 7] = [
    // Keeps a partition number of all topics, and so a session, with one member.
    ("partition.assignment.strategy", "range"),
    // What librdkafka fetches ahead of each partition lies in memory, until its turn comes.
    ("queued.max.messages.kbytes", "512"),
    // That limit is looked at before a fetch, and not during it: a partition may answer with so much, or with one whole
    // batch of its producer, which compression makes several times as much.
    ("max.partition.fetch.bytes", "131072"),
    // Small for the sake of brokers that don't keep to that: no partition gets far ahead of the others.
    ("fetch.max.bytes", "262144"),
    // How long fetching rests once the limit is reached. The default of a second starves a consumer that takes in the
    // whole limit in less, and the partition that is furthest behind is waited for.
    ("fetch.queue.backoff.ms", "2"),
    // A broker should answer a fetch as soon as there is a record, but not all do before this time is over. Where nothing
    // comes it is asked 40 times a second.
    ("fetch.wait.max.ms", "25"),
    ("allow.auto.create.topics", "false"),
];

/// From how many bytes on librdkafka fetches no more of a partition.
pub(super) fn most_fetched_ahead(config: &KafkaConfig) -> u64 {
    let kibibytes = consumer(config, &PREFERRED).get("queued.max.messages.kbytes").and_then(|limit| limit.parse().ok());
    kibibytes.map_or(u64::MAX, |kibibytes: u64| kibibytes.saturating_mul(1024))
}

/// A consumer whose reading starts where it is told to. Partitions are granted to it by the group, or now.
pub(super) fn join(options: &ConsumerOptions, callbacks: Callbacks) -> Result<BaseConsumer<Callbacks>, StreamError> {
    let config = &options.kafka;
    let mut client = consumer(config, &PREFERRED);
    client
        .set("group.id", group_id(options))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Nobody is to wait for a partition of which there is no more.
        .set("enable.partition.eof", "true")
        // The ends of the logs come with the statistics; a drain ends by them.
        .set("statistics.interval.ms", if options.until == Until::Drained { "200" } else { "1000" })
        // Every assignment names its offset. One outside the log is an error, which somebody has to decide.
        .set("auto.offset.reset", "error");
    let member: BaseConsumer<Callbacks> = client.create_with_context(callbacks)?;
    match &options.membership {
        Membership::Group => {
            let topics: Vec<&str> = config.topics.iter().map(String::as_str).collect();
            member.subscribe(&topics).map_err(StreamError::Subscribe)?;
        }
        Membership::Alone(ranges) => {
            member.context().grant_alone(ranges.iter().map(|range| range.partition.clone()).collect());
        }
    }
    Ok(member)
}

/// librdkafka asks for one, also where nobody joins it.
fn group_id(options: &ConsumerOptions) -> String {
    match options.membership {
        Membership::Group => options.kafka.group_id.clone(),
        Membership::Alone(_) => format!("sessionfold-replay-{}", Uuid::now_v7()),
    }
}
