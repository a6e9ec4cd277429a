//! What goes wrong between us and Kafka.

use rdkafka::error::KafkaError;

use crate::record::{NextOffset, TopicPartition};

/// A failure of Kafka, with what to do about it. No message holds a configured value.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("librdkafka refuses kafka.client.{property}: {reason}")]
    Client { property: String, reason: String },
    #[error("the polling thread can't be started: {0}")]
    Thread(#[source] std::io::Error),
    #[error("the topics can't be subscribed to: {0}; check kafka.topics")]
    Subscribe(#[source] KafkaError),
    #[error("Kafka doesn't say where to start: {0}")]
    Locate(#[source] KafkaError),
    #[error("partitions can't be assigned: {0}")]
    Assign(#[source] KafkaError),
    #[error("Kafka's client can't go on: {0}; restart the program")]
    Fatal(#[source] KafkaError),
    #[error(
        "the checkpoint of {partition} is {checkpoint}, but its log holds {low} to {high}: retention ran over it, or \
         the topic was made anew; decide how to go on with `sessionfold offsets adopt --topic {topic} --partition \
         {number} --to earliest|latest|OFFSET`",
        topic = partition.topic,
        number = partition.partition
    )]
    OutsideTheLog { partition: TopicPartition, checkpoint: NextOffset, low: i64, high: i64 },
}

impl StreamError {
    /// A client that couldn't be made. librdkafka quotes the value that it refuses; this doesn't.
    pub(super) fn from_creation(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, _, property, _) => {
                Self::Client { property, reason: "unknown property, or a value that it doesn't take".to_owned() }
            }
            other => Self::Client { property: "*".to_owned(), reason: other.to_string() },
        }
    }
}
