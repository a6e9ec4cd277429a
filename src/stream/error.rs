//! What goes wrong between us and Kafka, in words that say what to do.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::{
    config::property_problem,
    record::{NextOffset, TopicPartition},
};

/// A failure of Kafka, of the way to it, or of the settings for it. Its text never quotes a property's value or a
/// record's data.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// librdkafka refuses a property. Its own message isn't kept, since it quotes the value, which may be a secret.
    #[error("kafka.client.{property}: {problem}; allowed: what librdkafka's CONFIGURATION.md lists")]
    Property { property: String, problem: &'static str },
    /// librdkafka refuses to start although each property is fine by itself.
    #[error(
        "librdkafka can't be started: {0}; check the properties in [kafka.client], which may contradict each other"
    )]
    Client(String),
    /// No broker answered in time.
    #[error(
        "no Kafka broker answered within {waited:?} at {brokers}{}; check kafka.brokers, that the brokers run and can be \
         reached from here, and security.protocol and the SASL and TLS properties in [kafka.client]",
        last_error.as_ref().map(|error| format!(" (last error: {error})")).unwrap_or_default()
    )]
    Unreachable {
        brokers: String,
        waited: Duration,
        /// What librdkafka said last about a connection, where it said something.
        last_error: Option<String>,
    },
    /// The brokers answer, but not as wished for this topic.
    #[error("topic {topic}: the broker says: {code}; check its name, and the rights of this client")]
    Topic { topic: String, code: RDKafkaErrorCode },
    /// Records that were handed over didn't reach the topic.
    #[error("{records} record(s) were not delivered{}; check that the brokers run and that the topic takes such records",
        code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    NotDelivered {
        records: u64,
        /// Why the first of them was not; none where time ran out.
        code: Option<RDKafkaErrorCode>,
    },
    #[error("the polling thread can't be started: {0}")]
    Thread(std::io::Error),
    #[error("the polling thread panicked, see above; this is a bug: please report it with the log")]
    Panicked,
    #[error("the topics can't be subscribed to: {0}; check kafka.topics")]
    Subscribe(KafkaError),
    #[error("Kafka doesn't say where partitions start: {0}")]
    Locate(KafkaError),
    #[error("partitions can't be assigned: {0}; restart the program")]
    Assign(KafkaError),
    /// Records would be left out if reading went on.
    #[error(
        "Kafka has records that can't be read: {0}; look into the topic's log, restart the program, or go on behind \
         them with `sessionfold offsets adopt`"
    )]
    Unreadable(KafkaError),
    /// Positions are called outside their logs again and again, by brokers that hold them when they are asked.
    #[error(
        "Kafka's brokers disagree about where logs end: {0}; check that the partitions have leaders and in-sync replicas, \
         and restart the program. No record is lost or out of reach: don't move checkpoints"
    )]
    EndsInDispute(KafkaError),
    #[error("Kafka's client can't go on: {0}; restart the program")]
    Fatal(KafkaError),
    /// A checkpoint to which the log has no record.
    #[error(
        "the checkpoint of {partition} is {checkpoint}, but its log holds {low} to {high}: retention ran over it, or \
         the topic was made anew; decide how to go on with `sessionfold offsets adopt --topic {topic} --partition \
         {number} --to earliest|latest|OFFSET`",
        topic = partition.topic,
        number = partition.partition
    )]
    OutsideTheLog { partition: TopicPartition, checkpoint: NextOffset, low: i64, high: i64 },
    /// A request failed in a way that is none of the above.
    #[error("the request to Kafka failed: {0}")]
    Request(RDKafkaErrorCode),
}

impl StreamError {
    /// Whether the same may go well with another consumer in the same program. Otherwise somebody has to act, or would not
    /// hear of it.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Panicked | Self::Thread(_) | Self::Assign(_) | Self::Subscribe(_) | Self::Locate(_))
    }
}

impl From<KafkaError> for StreamError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(result, _, property, _) => {
                Self::Property { property, problem: property_problem(result) }
            }
            KafkaError::Nul(_) => Self::Client("a setting holds U+0000".to_owned()),
            KafkaError::ClientCreation(why) | KafkaError::AdminOpCreation(why) => Self::Client(why),
            KafkaError::AdminOp(code) => Self::Request(code),
            error => match error.rdkafka_error_code() {
                Some(code) => Self::Request(code),
                None => Self::Client(error.to_string()),
            },
        }
    }
}

/// Whether a code says that no broker was there, rather than what one said.
pub(super) fn is_absence(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::Authentication
            | Code::RequestTimedOut
    )
}
