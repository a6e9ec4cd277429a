//! The section `[kafka]`, and the rules of its keys.

use std::collections::BTreeMap;

use super::client::{self, ClientValue};
use super::error::{ConfigError, Refusal, quoted};
use super::kafka_security;
use super::sections::not_empty;
use super::settings::Settings;

/// `[kafka]`: what is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port`, separated by commas, without spaces.
    pub brokers: String,
    /// The consumer group, under which checkpoints are kept.
    pub group_id: String,
    /// At least one, no duplicates.
    pub topics: Vec<String>,
    /// Properties for librdkafka, none of those that belong to the program.
    pub client: BTreeMap<String, ClientValue>,
}

impl KafkaConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        kafka_security::check(settings)?;
        client::check_values(settings)?;
        Ok(Self {
            brokers: settings.text("kafka.brokers", brokers)?,
            group_id: settings.text("kafka.group_id", not_empty)?,
            topics: settings.list("kafka.topics", topics)?,
            client: settings.client(),
        })
    }
}

fn brokers(text: String) -> Result<String, Refusal> {
    let brokers: Vec<&str> = text.split(',').map(str::trim).collect();
    match brokers.iter().find(|broker| !is_broker(broker)) {
        None => Ok(brokers.join(",")),
        Some(broker) => Err(Refusal::new(
            format!("{} is not a broker's address", quoted(broker)),
            "allowed: host:port, separated by commas",
        )),
    }
}

fn is_broker(broker: &str) -> bool {
    let Some((host, port)) = broker.rsplit_once(':') else {
        return false;
    };
    // An IPv6 address has colons of its own and stands in brackets.
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host_is_fine = bracketed || (!host.is_empty() && host.chars().all(plain));
    host_is_fine && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn topics(topics: Vec<String>) -> Result<Vec<String>, Refusal> {
    if topics.is_empty() {
        return Err(Refusal::new("is empty", "allowed: at least one topic"));
    }
    topics.iter().try_for_each(|name| check_topic(name))?;
    Ok(topics)
}

/// Kafka's own rule. It also keeps out `^…`, which librdkafka would take for a pattern.
pub(super) fn check_topic(name: &str) -> Result<(), Refusal> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=249).contains(&name.len()) && name.chars().all(letter) {
        return Ok(());
    }
    Err(Refusal::new(
        format!("{} is not a topic's name", quoted(name)),
        "allowed: letters, digits, `.`, `_` and `-`, at most 249",
    ))
}
