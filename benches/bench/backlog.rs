//! Made-up records, in topics that are made for them.

use std::{collections::HashMap, time::Duration};

use anyhow::Result;
use rdkafka::{Message, Timestamp, message::Headers};
use sessionfold::{
    config::KafkaConfig,
    event::RecordTimestamp,
    generate::{Generator, Shape},
    record::{Header, Record},
    stream::{KindTopics, Producer, create_topics, produce},
};

use crate::kafka_alone;

/// Partitions of each topic, as in the demo.
pub const PARTITIONS: i32 = 6;

/// Four topics.
#[derive(Clone, Debug)]
pub struct Topics(pub KindTopics);

impl Topics {
    /// The default names behind a prefix.
    pub fn new(prefix: &str) -> Self {
        let KindTopics { started, prompt, tool, ended } = KindTopics::default();
        let name = |topic: String| format!("{prefix}.{topic}");
        Self(KindTopics { started: name(started), prompt: name(prompt), tool: name(tool), ended: name(ended) })
    }

    pub fn names(&self) -> Vec<String> {
        let KindTopics { started, prompt, tool, ended } = &self.0;
        [started, ended, prompt, tool].map(Clone::clone).to_vec()
    }

    pub async fn create(&self, kafka: &KafkaConfig) -> Result<()> {
        Ok(create_topics(kafka, &self.names(), PARTITIONS).await?)
    }

    /// Sends as many records of the demo's kind; other seeds give other sessions.
    pub async fn send(&self, kafka: &KafkaConfig, records: u64, seed: u64) -> Result<()> {
        let (kafka, topics) = (kafka.clone(), self.0.clone());
        let shape = Shape { records, seed, ..Shape::default() };
        let sending = tokio::task::spawn_blocking(move || {
            let producer = Producer::new(&kafka)?;
            produce(Generator::new(shape), &producer, &topics)?;
            producer.flush(Duration::from_secs(60))
        });
        sending.await??;
        Ok(())
    }
}

/// A record in memory, and where it came from.
pub struct Kept {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub record: Record,
}

impl Kept {
    fn millis(&self) -> i64 {
        self.record.timestamp.map_or(0, RecordTimestamp::millis)
    }
}

/// Reads a backlog into memory, in the order in which a consumer gets it.
pub fn keep(brokers: &str, topics: &Topics, records: u64) -> Result<Vec<Kept>> {
    let mut kept = Vec::with_capacity(usize::try_from(records)?);
    kafka_alone::read(brokers, topics, records, |message| {
        kept.push(Kept {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            record: record(message),
        });
    })?;
    Ok(kept)
}

fn record(message: &impl Message) -> Record {
    let mut headers = Vec::new();
    if let Some(found) = message.headers() {
        let owned = found
            .iter()
            .map(|header| Header { key: header.key.as_bytes().into(), value: header.value.map(Into::into) });
        headers.extend(owned);
    }
    Record {
        value: message.payload().map(Into::into),
        key: message.key().map(Into::into),
        headers,
        timestamp: match message.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => RecordTimestamp::from_millis(millis),
        },
    }
}

/// The first records over all partitions, about in the order in which they were sent: a consumer gets hundreds of one
/// partition in a row, which would be a backlog of one kind. Within a partition the order stays.
pub fn first_of_all(kept: &[Kept], count: usize) -> Vec<&Kept> {
    let mut latest: HashMap<(&str, i32), i64> = HashMap::new();
    let mut by_time: Vec<(i64, &Kept)> = Vec::with_capacity(kept.len());
    for one in kept {
        let latest = latest.entry((&one.topic, one.partition)).or_default();
        *latest = one.millis().max(*latest);
        by_time.push((*latest, one));
    }
    by_time.sort_by_key(|(time, _)| *time);
    by_time.into_iter().take(count).map(|(_, one)| one).collect()
}
