//! Sends generated records to their topics.

use super::{
    error::StreamError,
    producer::{Outgoing, Producer},
};
use crate::{event::EventKind, generate::GeneratedRecord};

/// The topic of each kind.
///
/// Which kind comes in which topic is the producers' business: the service reads all its topics alike and goes by the
/// records. So this isn't taken from `kafka.topics`, which is a list without such a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindTopics {
    pub started: String,
    pub prompt: String,
    pub tool: String,
    pub ended: String,
}

impl Default for KindTopics {
    fn default() -> Self {
        let topic = |kind: EventKind| kind.default_topic().to_owned();
        Self {
            started: topic(EventKind::Started),
            prompt: topic(EventKind::Prompt),
            tool: topic(EventKind::Tool),
            ended: topic(EventKind::Ended),
        }
    }
}

impl KindTopics {
    pub fn of(&self, kind: EventKind) -> &str {
        match kind {
            EventKind::Started => &self.started,
            EventKind::Prompt => &self.prompt,
            EventKind::Tool => &self.tool,
            EventKind::Ended => &self.ended,
        }
    }
}

/// Hands all records to the producer, which still has to be flushed. Returns how many there were. Blocks.
///
/// # Errors
/// At the first record that can't be sent; those before it may have been.
pub fn produce(
    records: impl IntoIterator<Item = GeneratedRecord>,
    producer: &Producer,
    topics: &KindTopics,
) -> Result<u64, StreamError> {
    let mut sent = 0;
    for record in records {
        producer.send(Outgoing {
            topic: topics.of(record.kind),
            key: Some(&record.key),
            value: record.value.as_deref(),
            headers: &record.headers,
            timestamp_millis: Some(record.timestamp_millis),
        })?;
        sent += 1;
    }
    Ok(sent)
}
