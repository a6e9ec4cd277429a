//! Makes topics, and says which there are.

use std::time::{Duration, Instant};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataTopic,
};

use super::{
    client::{self, LogToTracing},
    error::{StreamError, is_absence},
};
use crate::config::KafkaConfig;

const CREATION_TIMEOUT: Duration = Duration::from_secs(30);
const EVENTS_TIME: Duration = Duration::from_millis(50);

/// Creates topics of that many partitions, replicated as the brokers do by default. Those that exist are left as they
/// are, whatever their number of partitions.
///
/// # Errors
/// If no broker answers within half a minute, or a broker refuses a topic.
pub async fn create_topics(config: &KafkaConfig, names: &[String], partitions: i32) -> Result<(), StreamError> {
    const BROKERS_DEFAULT: TopicReplication<'_> = TopicReplication::Fixed(-1);
    let admin = AdminClient::from_config_and_context(&client::base(config), LogToTracing::default())?;
    let topics: Vec<NewTopic<'_>> = names.iter().map(|name| NewTopic::new(name, partitions, BROKERS_DEFAULT)).collect();
    let options = AdminOptions::new().request_timeout(Some(CREATION_TIMEOUT)).operation_timeout(Some(CREATION_TIMEOUT));
    let results = admin.create_topics(&topics, &options).await.map_err(|error| match error {
        // Nobody takes in the events of an admin client, so it can't say why.
        KafkaError::AdminOp(code) if is_absence(code) => unreachable(config, CREATION_TIMEOUT, None),
        error => error.into(),
    })?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(StreamError::Topic { topic, code }),
        }
    }
    Ok(())
}

/// The number of partitions of each topic, none where there is no such topic. It makes none: unlike an admin client's,
/// a consumer's metadata requests don't create the topics they name. Blocks for `timeout` at most.
///
/// # Errors
/// If no broker answers in time, or one answers that this client may not see a topic.
pub fn describe_topics(
    config: &KafkaConfig,
    names: &[String],
    timeout: Duration,
) -> Result<Vec<(String, Option<usize>)>, StreamError> {
    let mut settings = client::consumer(config, &[]);
    settings.set("allow.auto.create.topics", "false");
    let consumer = BaseConsumer::from_config_and_context(&settings, LogToTracing::default())?;
    let deadline = Instant::now() + timeout;
    let mut described = Vec::with_capacity(names.len());
    for name in names {
        let left = deadline.saturating_duration_since(Instant::now());
        let metadata = consumer.fetch_metadata(Some(name), left).map_err(|error| match error.rdkafka_error_code() {
            Some(code) if is_absence(code) => {
                // Events wait to be taken in, one of which may say why. Not with a zero time, which a log line ends.
                while consumer.poll(EVENTS_TIME).is_some() {}
                unreachable(config, timeout, consumer.client().context().last_error())
            }
            _ => error.into(),
        })?;
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        let partitions = found.map(partitions_of).transpose()?.flatten();
        described.push((name.clone(), partitions));
    }
    Ok(described)
}

/// How many partitions these topics have together; one that is missing has none. Blocks for `timeout` at most.
pub(super) fn count_partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    names: &[String],
    timeout: Duration,
) -> Result<usize, StreamError> {
    let deadline = Instant::now() + timeout;
    let mut count = 0;
    for name in names {
        let metadata = consumer.fetch_metadata(Some(name), deadline.saturating_duration_since(Instant::now()))?;
        for topic in metadata.topics() {
            count += partitions_of(topic)?.unwrap_or(0);
        }
    }
    Ok(count)
}

fn partitions_of(topic: &MetadataTopic) -> Result<Option<usize>, StreamError> {
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(topic.partitions().len())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
        Some(code) => Err(StreamError::Topic { topic: topic.name().to_owned(), code }),
    }
}

fn unreachable(config: &KafkaConfig, waited: Duration, last_error: Option<String>) -> StreamError {
    StreamError::Unreachable { brokers: config.brokers.clone(), waited, last_error }
}
