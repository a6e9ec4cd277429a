//! How far a group's checkpoints are behind the ends of the logs, asked of Kafka by those who don't consume.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{sync::Mutex, task::JoinHandle};

use crate::{
    config::KafkaConfig,
    record::{NextOffset, TopicPartition},
    stream::{KnownLogEnds, LogEnds, known_log_ends},
};

/// How long an answer of Kafka's is good for.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// How long a call waits for Kafka. What takes longer is there for a later call.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long Kafka may take for one of the requests that it takes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// One partition's part of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PartitionLag {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Records, or offsets, that aren't in the tables yet; none where that isn't known.
    pub(super) lag: Option<u64>,
    /// Its checkpoint lies outside its log, so that nothing of it is read; none where that isn't known.
    pub(super) halted: Option<bool>,
}

/// What Kafka said last, and what it is being asked.
#[derive(Debug)]
pub(super) struct Broker {
    config: KafkaConfig,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    last: Option<(Instant, Answered)>,
    under_way: Option<JoinHandle<Answered>>,
}

/// The ends of the partitions that are known, or why none is.
type Answered = Result<Arc<Vec<(TopicPartition, Option<LogEnds>)>>, &'static str>;

impl Broker {
    pub(super) fn new(config: KafkaConfig) -> Self {
        Self { config, asked: Mutex::default() }
    }

    /// The ends of the logs as they were a few seconds ago, or why they aren't known.
    pub(super) async fn log_ends(&self) -> Answered {
        let answered = tokio::time::timeout(PATIENCE, self.asked());
        answered.await.unwrap_or(Err("Kafka has not told the ends of the logs yet"))
    }

    async fn asked(&self) -> Answered {
        let mut asked = self.asked.lock().await;
        if let Some((_, answered)) = asked.last.as_ref().filter(|(at, _)| at.elapsed() < GOOD_FOR) {
            return answered.clone();
        }
        let config = self.config.clone();
        let under_way = asked.under_way.get_or_insert_with(|| tokio::task::spawn_blocking(move || ask(&config)));
        // Where nobody waits any more it goes on, and the next who asks finds it.
        let answered = under_way.await.unwrap_or(Err("the question to Kafka was given up"));
        (asked.last, asked.under_way) = (Some((Instant::now(), answered.clone())), None);
        answered
    }
}

/// Blocks. What Kafka says of a failure is for the log.
fn ask(config: &KafkaConfig) -> Answered {
    let known = known_log_ends(config, REQUEST_TIMEOUT).map_err(|error| {
        tracing::warn!(%error, "Kafka could not be asked how far behind the tables are");
        "Kafka can't be asked now"
    })?;
    let end = |(partition, ends): KnownLogEnds| (partition, ends.ok());
    Ok(Arc::new(known.into_iter().map(end).collect()))
}

/// How far the checkpoints are behind these ends. A partition without a checkpoint is behind by all that its log holds.
pub(super) fn of_partitions(
    ends: &[(TopicPartition, Option<LogEnds>)],
    checkpoints: &BTreeMap<TopicPartition, NextOffset>,
) -> Vec<PartitionLag> {
    let of_partition = |(partition, ends): &(TopicPartition, Option<LogEnds>)| {
        let lag = ends.as_ref().map(|ends| {
            let checkpoint = checkpoints.get(partition).copied();
            let left = ends.left_from(checkpoint);
            let is_outside = left.is_none() || checkpoint.is_some_and(|checkpoint| checkpoint < ends.earliest);
            (left.unwrap_or(0), is_outside)
        });
        PartitionLag {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            lag: lag.map(|(lag, _)| lag),
            halted: lag.map(|(_, is_outside)| is_outside),
        }
    };
    ends.iter().map(of_partition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(number: i32, earliest: i64, latest: i64) -> (TopicPartition, Option<LogEnds>) {
        let partition = TopicPartition::new("t", number);
        let (earliest, latest) = (NextOffset::new(earliest), NextOffset::new(latest));
        (partition.clone(), Some(LogEnds { partition, earliest, latest, committed: None }))
    }

    #[test]
    fn a_partition_is_behind_by_what_its_log_holds_after_its_checkpoint() {
        let unknown = (TopicPartition::new("t", 4), None);
        let ends = [ends(0, 10, 25), ends(1, 10, 25), ends(2, 10, 25), ends(3, 10, 25), unknown];
        let checkpoints = [(0, 20), (2, 5), (3, 26), (4, 7)];
        let checkpoints = checkpoints.map(|(number, next)| (TopicPartition::new("t", number), NextOffset::new(next)));
        let lags = of_partitions(&ends, &BTreeMap::from(checkpoints));
        let found: Vec<_> = lags.iter().map(|of| (of.partition, of.lag, of.halted)).collect();
        let known = |lag, halted| (Some(lag), Some(halted));
        let expected = [known(5, false), known(15, false), known(20, true), known(0, true), (None, None)];
        assert_eq!(found, (0..).zip(expected).map(|(number, (lag, halted))| (number, lag, halted)).collect::<Vec<_>>());
    }
}
