//! librdkafka's client as a member of the group, set up so that nothing is read or committed but what we say.

use rdkafka::consumer::BaseConsumer;

use crate::config::KafkaConfig;

use super::{
    client::{base, prefer},
    error::StreamError,
    options::Until,
    rebalance::Callbacks,
};

/// A member of the group, whose reading starts where it is told to.
pub(super) fn join(
    config: &KafkaConfig,
    until: Until,
    callbacks: Callbacks,
) -> Result<BaseConsumer<Callbacks>, StreamError> {
    let mut client = base(config);
    // Keeps a partition number of all topics, and so a session, with one member.
    prefer(&mut client, "partition.assignment.strategy", "range");
    // What librdkafka fetches ahead lies in memory too.
    prefer(&mut client, "queued.max.messages.kbytes", "8192");
    // That limit is looked at before a fetch, and not during it: each partition may answer with so much, which
    // compression makes several times as much. 24 partitions of a megabyte were 100 MB.
    prefer(&mut client, "max.partition.fetch.bytes", "131072");
    prefer(&mut client, "fetch.max.bytes", "8388608");
    // How long fetching rests once that limit is reached. The default of a second starves a consumer that takes in the
    // whole limit in less.
    prefer(&mut client, "fetch.queue.backoff.ms", "10");
    // A broker should answer a fetch as soon as there is a record, but not all do before this time is over. Where nothing
    // comes it is asked 40 times a second.
    prefer(&mut client, "fetch.wait.max.ms", "25");
    prefer(&mut client, "allow.auto.create.topics", "false");
    client
        .set("group.id", &config.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        // The ends of the logs come with the statistics; a drain ends by them.
        .set("statistics.interval.ms", if until == Until::Drained { "200" } else { "1000" })
        // Every assignment names its offset. One outside the log is an error, which somebody has to decide.
        .set("auto.offset.reset", "error");
    Ok(client.create_with_context(callbacks)?)
}
