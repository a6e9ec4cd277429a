//! Where it is known from how the pipeline stands: from the consumer of this process, or from the tables and from Kafka.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    config::KafkaConfig,
    record::TopicPartition,
    service::{ConsumerView, Health, PartReport},
    store::{Store, StoreError},
    stream::PartitionStanding,
};

use super::{
    super::{probes::ago, reader::Reader},
    lag::{Broker, PartitionLag, of_partitions},
};

/// A consumer that runs in this process: looked at, never asked to do anything.
#[derive(Debug)]
pub(in crate::serve) struct Running {
    pub(in crate::serve) view: Arc<ConsumerView>,
    pub(in crate::serve) store: Store,
    pub(in crate::serve) health: Arc<Health>,
    pub(in crate::serve) parts: Vec<(&'static str, Arc<PartReport>)>,
}

/// Where it is known from.
#[derive(Debug)]
pub(super) enum Source {
    Consumer(Box<Running>),
    Tables(Box<Broker>),
}

/// How many records the tables are behind, and in what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lag {
    pub(super) lag: Option<u64>,
    /// `instance`: the partitions that the group gave to the instance that answers. `group`: all of them.
    pub(super) lag_of: &'static str,
    /// Why `lag` is null; null where it isn't.
    pub(super) lag_unknown: Option<&'static str>,
}

/// The consumer's own part of the pipeline's health; nulls where nobody here consumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct ConsumerHealth {
    ready: Option<bool>,
    not_ready: Vec<String>,
    paused: Option<bool>,
    breaker: Option<String>,
    breaker_openings: Option<u64>,
    last_commit_at: Option<DateTime<Utc>>,
    /// By name, what works in rounds beside the consumer, such as the sweep.
    parts: Map<String, Value>,
}

impl Source {
    pub(super) fn tables(kafka: &KafkaConfig) -> Self {
        Self::Tables(Box::new(Broker::new(kafka.clone())))
    }

    /// `consumer` or `tables`.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Consumer(_) => "consumer",
            Self::Tables(_) => "tables",
        }
    }

    /// How many records the tables are behind.
    pub(super) async fn lag(&self, reader: &Reader, group_id: &str) -> Lag {
        let known = |lag: u64, of| Lag { lag: Some(lag), lag_of: of, lag_unknown: None };
        let unknown = |why, of| Lag { lag: None, lag_of: of, lag_unknown: Some(why) };
        match self {
            Self::Consumer(running) => {
                match (running.view.monitor().lag(), running.view.monitor().progress.standing().assigned) {
                    (_, None) => unknown("the group has not assigned partitions", "instance"),
                    (_, Some(0)) => unknown("the group gave no partition to this instance", "instance"),
                    (None, _) => unknown("Kafka has not told the ends of the logs yet", "instance"),
                    (Some(lag), _) => known(lag, "instance"),
                }
            }
            Self::Tables(broker) => match partitions(broker, reader, group_id).await {
                Ok(partitions) => match partitions.iter().map(|of| of.lag).sum::<Option<u64>>() {
                    Some(lag) => known(lag, "group"),
                    None => unknown("Kafka does not tell the ends of all logs", "group"),
                },
                Err(why) => unknown(why, "group"),
            },
        }
    }

    /// How each partition stands; or why that isn't known.
    pub(super) async fn partitions(&self, reader: &Reader, group_id: &str) -> Result<Vec<PartitionLag>, &'static str> {
        match self {
            Self::Consumer(running) => {
                let standing = running.view.monitor().progress.standing();
                let partition = |(partition, of): (&TopicPartition, &PartitionStanding)| {
                    let (topic, partition) = (partition.topic.to_string(), partition.partition);
                    PartitionLag { topic, partition, lag: of.lag, halted: Some(of.halted) }
                };
                Ok(standing.partitions.iter().map(partition).collect())
            }
            Self::Tables(broker) => partitions(broker, reader, group_id).await,
        }
    }

    pub(super) fn health(&self) -> ConsumerHealth {
        let Self::Consumer(running) = self else { return ConsumerHealth::default() };
        let not_ready = running.health.why_not_ready();
        let breaker = running.store.breaker();
        let part = |(name, report): &(&'static str, Arc<PartReport>)| {
            let last = report.last();
            (
                (*name).to_owned(),
                json!({"last_round_at": last.at.map(|at| at.trunc_subsecs(3)), "last_error": last.error}),
            )
        };
        ConsumerHealth {
            ready: Some(not_ready.is_empty()),
            not_ready,
            paused: Some(running.view.monitor().progress.is_paused()),
            breaker: Some(breaker.state.to_string()),
            breaker_openings: Some(breaker.openings),
            last_commit_at: running.view.monitor().counts.last_commit_at().map(|at| ago(at).trunc_subsecs(3)),
            parts: running.parts.iter().map(part).collect(),
        }
    }
}

async fn partitions(broker: &Broker, reader: &Reader, group_id: &str) -> Result<Vec<PartitionLag>, &'static str> {
    let ends = broker.log_ends().await?;
    let group_id = group_id.to_owned();
    // Read after the ends, so that what was committed meanwhile isn't counted as missing.
    let checkpoints = reader.ask(async move |store: Store| store.checkpoints_of_group(&group_id).await).await;
    let checkpoints = checkpoints.map_err(|_: StoreError| "the checkpoints can't be read now")?;
    Ok(of_partitions(&ends, &checkpoints))
}
