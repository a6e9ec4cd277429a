//! Reads what a topic holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};
use serde_json::Value;
use sessionfold::stream::log_ends;

use crate::deployment::Deployment;

pub struct Message {
    pub key: String,
    pub headers: BTreeMap<String, String>,
    pub value: Value,
}

impl Message {
    pub fn id(&self) -> &str {
        self.value["id"].as_str().unwrap()
    }

    fn version(&self) -> i64 {
        self.value["session_version"].as_i64().unwrap()
    }
}

/// All there are, partition by partition, each in its order.
pub fn messages(deployment: &Deployment, topic: &str) -> Vec<Message> {
    const TIMEOUT: Duration = Duration::from_secs(10);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", deployment.config().kafka.brokers)
        .set("group.id", "reader of a test")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut kafka = deployment.config().kafka;
    kafka.topics = vec![topic.to_owned()];
    let mut found = Vec::new();
    // Exact ends: this broker tells of less than there is when it is asked in the usual way.
    for ends in log_ends(&kafka, TIMEOUT).unwrap() {
        let (low, high) = (ends.earliest.get(), ends.latest.get());
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, ends.partition.partition, Offset::Offset(low)).unwrap();
        consumer.assign(&list).unwrap();
        let (mut next, deadline) = (low, Instant::now() + 3 * TIMEOUT);
        while next < high {
            assert!(Instant::now() < deadline, "{next} of {high}");
            let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
            let message = message.unwrap();
            next = message.offset() + 1;
            let headers = message.headers().unwrap().iter();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            found.push(Message {
                key: text(message.key().unwrap()),
                headers: headers.map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect(),
                value: serde_json::from_slice(message.payload().unwrap()).unwrap(),
            });
        }
    }
    found
}

/// The ids, each once, as a consumer sees them that passes over those that it knows. Those of a session are in the order
/// of its versions.
pub fn ordered_by_session(messages: &[Message]) -> BTreeSet<&str> {
    let (mut seen, mut versions) = (BTreeSet::new(), BTreeMap::<&str, i64>::new());
    for message in messages.iter() {
        if !seen.insert(message.id()) {
            continue;
        }
        let before = versions.insert(&message.key, message.version());
        assert!(before < Some(message.version()), "session {}: {before:?} before {}", message.key, message.version());
    }
    seen
}
