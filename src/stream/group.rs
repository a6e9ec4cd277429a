//! Who is in the consumer group, as the broker knows it. Joins nothing.

use std::{collections::BTreeSet, time::Duration};

use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::config::KafkaConfig;

use super::{
    client::{self, LogToTracing},
    error::StreamError,
};

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupMember {
    pub client_id: String,
    pub host: String,
}

/// The members of the configured group; none where there is no such group. One that ended without leaving is among them
/// until its session times out. Blocks for `timeout` at most.
///
/// # Errors
/// If no broker answers, or one doesn't tell.
pub fn group_members(config: &KafkaConfig, timeout: Duration) -> Result<BTreeSet<GroupMember>, StreamError> {
    let consumer: BaseConsumer<LogToTracing> = client::base(config).create_with_context(LogToTracing::default())?;
    let groups = consumer.fetch_group_list(Some(&config.group_id), timeout)?;
    let of_group = groups.groups().iter().filter(|group| group.name() == config.group_id);
    let member = |member: &rdkafka::groups::GroupMemberInfo| GroupMember {
        client_id: member.client_id().to_owned(),
        host: member.client_host().to_owned(),
    };
    Ok(of_group.flat_map(|group| group.members().iter().map(member)).collect())
}
