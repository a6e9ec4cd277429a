//! Sends records and counts what became of them. The service itself only reads; this is for the demo and for tests.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};

use super::{
    client::{self, LogToTracing},
    error::StreamError,
};
use crate::config::KafkaConfig;

/// Settings unless the user has others.
const PREFERRED: [(&str, &str); 9] = [
    ("acks", "all"),
    // A retry that the broker took before neither doubles a record nor puts it behind later ones.
    ("enable.idempotence", "true"),
    ("linger.ms", "20"),
    ("compression.type", "lz4"),
    // As many agents would send them, and no larger: a consumer has the whole of a batch in memory.
    ("batch.num.messages", "1000"),
    // The topics' own limit decides. Without this, a record could be too large for us that isn't for the broker.
    ("message.max.bytes", "16000000"),
    // What waits to be sent. The default is a gigabyte.
    ("queue.buffering.max.kbytes", "65536"),
    // A session's records lie in the partition of one number in all topics, and where Kafka's Java producer puts them.
    ("partitioner", "murmur2_random"),
    // A demo that can't send should say so within a minute, not in five.
    ("message.timeout.ms", "60000"),
];

/// How long a full queue is left to drain before the next try.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// A record to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub key: Option<&'a [u8]>,
    /// None for a null value, which is not an empty one.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(String, Option<Vec<u8>>)],
    /// None for now, and so is 0, by which librdkafka says "now".
    pub timestamp_millis: Option<i64>,
}

/// What the brokers have acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    pub records: u64,
}

/// A producer with a thread of its own that takes in delivery reports. Its calls block; in async code they belong into
/// `spawn_blocking`. What wasn't flushed when it is dropped may be lost.
pub struct Producer {
    inner: ThreadedProducer<Reports>,
}

impl Producer {
    /// Connects in the background: brokers that are away show when records are sent.
    ///
    /// # Errors
    /// If librdkafka refuses the settings.
    pub fn new(config: &KafkaConfig) -> Result<Self, StreamError> {
        let settings = client::preferring(config, &PREFERRED);
        Ok(Self { inner: ThreadedProducer::from_config_and_context(&settings, Reports::default())? })
    }

    /// Hands over a record to be sent in the background; waits for as long as the queue is full.
    ///
    /// # Errors
    /// If this record can't be sent at all (too large, for instance), or if an earlier one wasn't delivered: more would
    /// be sent in vain.
    pub fn send(&self, record: Outgoing<'_>) -> Result<(), StreamError> {
        let mut outgoing = base_record(record);
        loop {
            self.reports().check()?;
            outgoing = match self.inner.send(outgoing) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => refused,
                Err((KafkaError::MessageProduction(code), _)) => {
                    return Err(StreamError::Topic { topic: record.topic.to_owned(), code });
                }
                Err((error, _)) => return Err(error.into()),
            };
            self.inner.poll(FULL_QUEUE_PAUSE);
        }
    }

    /// What was delivered so far.
    pub fn delivered(&self) -> Delivered {
        Delivered { records: self.reports().delivered.load(Ordering::Acquire) }
    }

    /// Waits until each record handed over is delivered or has failed.
    ///
    /// # Errors
    /// If one has failed since the producer was made, or if some are still under way after `timeout`.
    pub fn flush(&self, timeout: Duration) -> Result<Delivered, StreamError> {
        let flushed = self.inner.flush(timeout);
        self.reports().check()?;
        match flushed {
            Ok(()) => Ok(self.delivered()),
            Err(_) => {
                let records = u64::try_from(self.inner.in_flight_count()).unwrap_or(0);
                Err(StreamError::NotDelivered { records, code: None })
            }
        }
    }

    fn reports(&self) -> &Reports {
        self.inner.client().context()
    }
}

fn base_record<'a>(record: Outgoing<'a>) -> BaseRecord<'a, [u8], [u8]> {
    let mut outgoing = BaseRecord::to(record.topic);
    outgoing.key = record.key;
    outgoing.payload = record.value;
    outgoing.timestamp = record.timestamp_millis;
    if !record.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in record.headers {
            headers = headers.insert(Header { key: name, value: value.as_ref() });
        }
        outgoing.headers = Some(headers);
    }
    outgoing
}

/// Counts delivery reports.
#[derive(Default)]
struct Reports {
    log: LogToTracing,
    delivered: AtomicU64,
    failed: AtomicU64,
    /// Why the first record that failed did.
    cause: OnceLock<RDKafkaErrorCode>,
}

impl Reports {
    fn check(&self) -> Result<(), StreamError> {
        match self.failed.load(Ordering::Acquire) {
            0 => Ok(()),
            records => Err(StreamError::NotDelivered { records, code: self.cause.get().copied() }),
        }
    }
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
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.delivered.fetch_add(1, Ordering::AcqRel),
            Err((error, _)) => {
                // The cause first, so that who sees the count sees the cause.
                self.cause.get_or_init(|| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
                self.failed.fetch_add(1, Ordering::AcqRel)
            }
        };
    }
}
