//! librdkafka's configuration, and where its log goes.

use rdkafka::{ClientConfig, ClientContext, config::RDKafkaLogLevel, consumer::BaseConsumer, error::KafkaError};

use crate::config::KafkaConfig;

use super::{consumer::Until, error::StreamError, rebalance::Callbacks};

#[derive(Debug, Default)]
pub(super) struct LogToTracing {}

impl ClientContext for LogToTracing {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
    }
}

pub(crate) fn base(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers).set("client.id", "sessionfold");
    for (property, value) in &config.client {
        client.set(property, value.expose());
    }
    client
}

/// A member of the group, with a rebalance protocol that keeps a session's four topics with one member.
pub(super) fn consumer(
    config: &KafkaConfig,
    until: Until,
    callbacks: Callbacks,
) -> Result<BaseConsumer<Callbacks>, StreamError> {
    let mut client = base(config);
    for (property, value) in [
        ("partition.assignment.strategy", "range"),
        // What librdkafka fetches ahead lies in memory too.
        ("queued.max.messages.kbytes", "16384"),
        // The ends of the logs come with the statistics; a drain ends by them.
        ("statistics.interval.ms", if until == Until::Drained { "200" } else { "1000" }),
        ("allow.auto.create.topics", "false"),
    ] {
        if client.get(property).is_none() {
            client.set(property, value);
        }
    }
    client
        .set("group.id", &config.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        // Every assignment names its offset. One outside the log is an error, which somebody has to decide.
        .set("auto.offset.reset", "error");
    client.create_with_context(callbacks).map_err(StreamError::from_creation)
}
