//! Reads stretches of logs once, beside any group: nothing is joined, nothing committed.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use uuid::Uuid;

use crate::{
    config::KafkaConfig,
    event::WireRecord,
    record::{NextOffset, RecordOffset, TopicPartition},
};

use super::{
    client::{self, LogToTracing},
    error::StreamError,
    wire,
};

/// A stretch of a partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRange {
    pub partition: TopicPartition,
    /// The first record that is read.
    pub from: NextOffset,
    /// The first that isn't.
    pub to: NextOffset,
}

impl LogRange {
    fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

/// Without any record for this long, it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Hands over every record of these stretches, each partition's in order. Blocks.
///
/// # Errors
/// If Kafka can't be read: no broker answers, or the log no longer has the stretch's beginning.
pub fn read_logs(
    config: &KafkaConfig,
    ranges: &[LogRange],
    mut take: impl FnMut(&TopicPartition, RecordOffset, WireRecord<'_>),
) -> Result<(), StreamError> {
    read_messages(config, ranges, |partition, message| {
        take(partition, RecordOffset::new(message.offset()), wire::borrowed(message));
        ControlFlow::Continue(())
    })
}

/// The same, as librdkafka gives them, until `take` has enough of a partition. A stretch that ends behind its log ends
/// with the log.
pub(super) fn read_messages(
    config: &KafkaConfig,
    ranges: &[LogRange],
    mut take: impl FnMut(&TopicPartition, &BorrowedMessage<'_>) -> ControlFlow<()>,
) -> Result<(), StreamError> {
    let mut by_topic: BTreeMap<&str, Vec<&LogRange>> = BTreeMap::new();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        by_topic.entry(&range.partition.topic).or_default().push(range);
    }
    // A topic at a time: the end of a partition is told with its number only.
    for ranges in by_topic.values() {
        TopicReader::open(config, ranges)?.read(config, &mut take)?;
    }
    Ok(())
}

/// Settings unless the user has others.
const PREFERRED: [(&str, &str); 3] =
    [("queued.max.messages.kbytes", "16384"), ("fetch.queue.backoff.ms", "10"), ("allow.auto.create.topics", "false")];

struct TopicReader<'r> {
    consumer: BaseConsumer<LogToTracing>,
    /// By number: what isn't read to its end.
    unread: HashMap<i32, &'r LogRange>,
}

impl<'r> TopicReader<'r> {
    fn open(config: &KafkaConfig, ranges: &[&'r LogRange]) -> Result<Self, StreamError> {
        let mut settings = client::consumer(config, &PREFERRED);
        settings
            // librdkafka asks for one. Nobody joins it.
            .set("group.id", format!("sessionfold-reader-{}", Uuid::now_v7()))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error");
        let consumer: BaseConsumer<LogToTracing> = settings.create_with_context(LogToTracing::default())?;
        let mut list = TopicPartitionList::new();
        for range in ranges {
            let (topic, number) = (&range.partition.topic, range.partition.partition);
            list.add_partition_offset(topic, number, Offset::Offset(range.from.get()))?;
        }
        consumer.assign(&list).map_err(StreamError::Assign)?;
        Ok(Self { consumer, unread: ranges.iter().map(|range| (range.partition.partition, *range)).collect() })
    }

    fn read(
        mut self,
        config: &KafkaConfig,
        take: &mut impl FnMut(&TopicPartition, &BorrowedMessage<'_>) -> ControlFlow<()>,
    ) -> Result<(), StreamError> {
        let mut heard_at = Instant::now();
        while !self.unread.is_empty() {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard_at = Instant::now();
                    if let Some(ended) = receive(&message, &self.unread, take) {
                        self.unread.remove(&ended.partition);
                        let mut list = TopicPartitionList::new();
                        list.add_partition(&ended.topic, ended.partition);
                        // What it fetches beyond is dropped all the same.
                        let _ = self.consumer.pause(&list);
                    }
                }
                // The rest of the stretch holds no records: those of transactions that were given up, for one.
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    self.unread.remove(&number);
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(StreamError::Fatal(KafkaError::MessageConsumptionFatal(code)));
                }
                Some(Err(KafkaError::MessageConsumption(code))) if is_lasting(code) => {
                    return Err(StreamError::Unreadable(KafkaError::MessageConsumption(code)));
                }
                // librdkafka connects again by itself.
                Some(Err(error)) => tracing::debug!(%error, "reading a log"),
                None => {}
            }
            if heard_at.elapsed() > PATIENCE {
                let last_error = self.consumer.client().context().last_error();
                return Err(StreamError::Unreachable { brokers: config.brokers.clone(), waited: PATIENCE, last_error });
            }
        }
        Ok(())
    }
}

/// Hands over the message, unless it lies behind its stretch. Returns the partition if that was its end.
fn receive(
    message: &BorrowedMessage<'_>,
    unread: &HashMap<i32, &LogRange>,
    take: &mut impl FnMut(&TopicPartition, &BorrowedMessage<'_>) -> ControlFlow<()>,
) -> Option<TopicPartition> {
    let range = unread.get(&message.partition())?;
    let offset = RecordOffset::new(message.offset());
    let enough = range.to.is_past(offset) && take(&range.partition, message).is_break();
    (enough || offset.next() >= range.to).then(|| range.partition.clone())
}

fn is_lasting(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::AutoOffsetReset
            | Code::BadMessage
            | Code::NotImplemented
            | Code::UnknownTopicOrPartition
            | Code::TopicAuthorizationFailed
    )
}
