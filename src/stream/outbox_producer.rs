//! Sends the outbox's records, and tells of each what became of it.

use std::time::Duration;

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};
use tokio::sync::oneshot;

use super::{
    client::{self, LogToTracing},
    error::StreamError,
};
use crate::config::{Acks, KafkaConfig};

/// How long the brokers may take to acknowledge a record, with all that librdkafka retries.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings unless the user has others.
const PREFERRED: [(&str, &str); 5] = [
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    // The topic's own limit decides.
    ("message.max.bytes", "16000000"),
    ("queue.buffering.max.kbytes", "65536"),
    // Where Kafka's Java producer puts a session, too.
    ("partitioner", "murmur2_random"),
];

/// How long a full queue is left to drain before the next try.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// A record to be sent.
#[derive(Clone, Copy, Debug)]
pub struct OutboxRecord<'a> {
    pub key: &'a str,
    pub value: &'a str,
    pub headers: [(&'a str, &'a str); 2],
}

/// A record that wasn't delivered, or of which that isn't known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}")]
pub struct Undelivered {
    pub code: RDKafkaErrorCode,
}

impl Undelivered {
    /// Whether it is this record that is refused, or another one of its batch. Anything else is about the brokers, the
    /// topic or the way there, and would meet every record.
    pub fn is_about_the_record(self) -> bool {
        use RDKafkaErrorCode as Code;
        matches!(
            self.code,
            Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::InvalidMessage
                | Code::InvalidMessageSize
                | Code::InvalidTimestamp
                | Code::InvalidRecord
                | Code::InvalidDifferentRecord
                | Code::PolicyViolation
        )
    }
}

/// A producer with a thread of its own that takes in delivery reports. What is under way when it is dropped may be
/// delivered or not.
pub struct OutboxProducer {
    inner: ThreadedProducer<Reports>,
    topic: String,
}

impl OutboxProducer {
    /// Connects in the background: brokers that are away show when records are sent.
    ///
    /// # Errors
    /// If librdkafka refuses the settings.
    pub fn new(config: &KafkaConfig, topic: &str, acks: Acks) -> Result<Self, StreamError> {
        let inner = ThreadedProducer::from_config_and_context(&settings(config, acks), Reports::default())?;
        Ok(Self { inner, topic: topic.to_owned() })
    }

    /// Sends a record, and waits until it is delivered or has failed.
    ///
    /// # Errors
    /// If the brokers refuse it, or don't acknowledge it within [`DELIVERY_TIMEOUT`]; then it may have arrived all the
    /// same.
    pub async fn send(&self, record: OutboxRecord<'_>) -> Result<(), Undelivered> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in record.headers {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        let (reported, report) = oneshot::channel();
        let mut outgoing = BaseRecord::with_opaque_to(&self.topic, Box::new(reported))
            .key(record.key)
            .payload(record.value)
            .headers(headers);
        loop {
            outgoing = match self.inner.send(outgoing) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => refused,
                Err((error, _)) => return Err(undelivered(&error)),
            };
            tokio::time::sleep(FULL_QUEUE_PAUSE).await;
        }
        // Without a report the producer is gone.
        report.await.unwrap_or(Err(Undelivered { code: RDKafkaErrorCode::PurgeInflight }))
    }

    /// What librdkafka said last about a connection, where it said something.
    pub fn last_error(&self) -> Option<String> {
        self.inner.client().context().log.last_error()
    }
}

fn undelivered(error: &KafkaError) -> Undelivered {
    Undelivered { code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail) }
}

fn settings(config: &KafkaConfig, acks: Acks) -> ClientConfig {
    let mut settings = client::preferring(config, &PREFERRED);
    settings.set("acks", acks.as_str());
    // With it a retry that the broker took before neither doubles a record nor puts it behind later ones.
    settings.set("enable.idempotence", if acks == Acks::All { "true" } else { "false" });
    // A lease rests on it. `delivery.timeout.ms` is another name of the same.
    settings.remove("delivery.timeout.ms");
    settings.set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
    settings
}

/// Hands each delivery report to whoever waits for it.
#[derive(Default)]
struct Reports {
    log: LogToTracing,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), Undelivered>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, reported: Self::DeliveryOpaque) {
        let outcome = result.as_ref().map(|_| ()).map_err(|(error, _)| undelivered(error));
        // Nobody waits where the publisher was stopped.
        let _ = reported.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn kafka(flags: &[&str]) -> KafkaConfig {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Config::load(Sources { flags, ..Sources::default() }).unwrap().kafka
    }

    #[test]
    fn only_all_is_idempotent_and_librdkafka_takes_each() {
        for (acks, value, idempotence) in
            [(Acks::All, "all", "true"), (Acks::Leader, "1", "false"), (Acks::None, "0", "false")]
        {
            let settings = settings(&kafka(&[]), acks);
            assert_eq!((settings.get("acks"), settings.get("enable.idempotence")), (Some(value), Some(idempotence)));
            assert!(OutboxProducer::new(&kafka(&[]), "t", acks).is_ok());
        }
    }

    #[test]
    fn the_delivery_timeout_is_ours_by_whichever_name_it_is_set() {
        let flags = ["kafka.client.delivery.timeout.ms=600000", "kafka.client.message.timeout.ms=600000"];
        let settings = settings(&kafka(&flags), Acks::All);
        assert_eq!(settings.get("message.timeout.ms"), Some("10000"));
        assert_eq!(settings.get("delivery.timeout.ms"), None);
    }
}
