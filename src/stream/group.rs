//! Who is in the consumer group, as the broker knows it. Joins nothing.

use std::{collections::BTreeSet, time::Duration};

use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    groups::GroupMemberInfo,
};

use crate::config::KafkaConfig;

use super::{
    client::{self, LogToTracing},
    error::StreamError,
};

/// A member of the group, by the names that Kafka has for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupMember {
    /// Kafka's own name for it, which begins with its `client.id`.
    pub id: String,
    /// Empty where the broker doesn't tell.
    pub host: String,
}

/// The members of the configured group. One that ended without leaving is among them until its session times out. None
/// where the brokers list no such group: there is none, or they don't list groups; the development broker lists one that
/// has committed something. Blocks for `timeout` at most.
///
/// # Errors
/// If no broker answers.
pub fn group_members(config: &KafkaConfig, timeout: Duration) -> Result<Option<BTreeSet<GroupMember>>, StreamError> {
    let consumer: BaseConsumer<LogToTracing> =
        client::consumer(config, &[]).create_with_context(LogToTracing::default())?;
    let listed = consumer.fetch_group_list(Some(&config.group_id), timeout)?;
    let group = listed.groups().iter().find(|group| group.name() == config.group_id);
    let member =
        |member: &GroupMemberInfo| GroupMember { id: member.id().to_owned(), host: member.client_host().to_owned() };
    Ok(group.map(|group| group.members().iter().map(member).collect()))
}
