//! Replays: the logs folded once more, beside the group, into the live tables or into a generation.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use chrono::{DateTime, Utc};

use crate::{
    config::{Config, KafkaConfig},
    event::EventTime,
    fold::{Aggregators, SessionAggregator},
    pipeline::{Pipeline, PipelineOptions},
    record::{NextOffset, TopicPartition},
    store::{
        DryRun, Publication, ReplayName, ReplayPartition, Storage, Store, StoreError, StoredReplay, SweepInstant,
        SweepScope,
    },
    stream::{LogEnds, LogRange, Membership, StreamError, Until, log_ends, offsets_at},
};

use super::{ReadProgress, Service, start_consumer, sweep::sweep_all};

/// How long the broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One end of what is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Of each log: its first record, or what it holds now.
    Log,
    /// The first record that is not older, by its timestamp.
    Time(DateTime<Utc>),
    /// These offsets, of these partitions.
    Offsets(Vec<(TopicPartition, NextOffset)>),
}

/// What is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Offsets also say which partitions are read: the ones that are named.
    pub from: Bound,
    /// Without it. A partition that offsets don't name is read to what its log holds now.
    pub to: Bound,
    /// None: all that are configured.
    pub topics: Option<Vec<String>>,
}

/// A stretch to read, and what of it the log doesn't have any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub range: LogRange,
    /// Offsets that were asked for and that retention has deleted.
    pub gone: u64,
    /// Where the log ends.
    pub log_end: NextOffset,
}

/// Why a replay can't begin.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} is none of the topics in kafka.topics")]
    UnknownTopic(String),
    #[error("{0} is no partition of the topics in kafka.topics")]
    UnknownPartition(TopicPartition),
    #[error(
        "{offset} is beyond the end of the log of {partition}, which is {end}; if the topic was made anew, what was read of \
         the one before says nothing of it: begin anew"
    )]
    BeyondTheLog { partition: TopicPartition, offset: NextOffset, end: NextOffset },
    #[error("replay {name} reads {begun}, which is something else; --restart begins anew, --name names another")]
    ReadsSomethingElse { name: ReplayName, begun: String },
}

impl Bounds {
    /// Whether they end where the logs do, of all topics: then the tables hold all that was there at the beginning.
    pub fn reach_all_ends(&self) -> bool {
        self.to == Bound::Log && !matches!(self.from, Bound::Offsets(_)) && self.topics.is_none()
    }

    /// In words, by which two of them can be compared.
    pub fn describe(&self) -> String {
        let bound = |bound: &Bound, log: &str| match bound {
            Bound::Log => log.to_owned(),
            Bound::Time(time) => time.to_rfc3339(),
            Bound::Offsets(offsets) => {
                let mut offsets: Vec<String> =
                    offsets.iter().map(|(partition, offset)| format!("{partition}@{offset}")).collect();
                offsets.sort_unstable();
                offsets.join(" ")
            }
        };
        let topics = self.topics.as_ref().map_or_else(|| "all topics".to_owned(), |topics| topics.join(" "));
        format!("{topics} from {} to {}", bound(&self.from, "the beginning"), bound(&self.to, "now"))
    }

    /// Asks Kafka where that is. Blocks.
    ///
    /// # Errors
    /// If Kafka can't be asked, or has no such topic or partition.
    pub fn locate(&self, kafka: &KafkaConfig) -> Result<Vec<Stretch>, ReplayError> {
        let logs = self.logs(kafka)?;
        let ends: HashMap<_, _> = logs.iter().map(|log| (log.partition.clone(), log.latest)).collect();
        let starts: HashMap<_, _> = logs.iter().map(|log| (log.partition.clone(), log.earliest)).collect();
        let from = place(&self.from, kafka, &starts, &ends)?;
        let to = place(&self.to, kafka, &ends, &ends)?;
        let beyond = from.iter().find(|(partition, from)| **from > ends[*partition]);
        if let Some((partition, from)) = beyond {
            return Err(ReplayError::BeyondTheLog {
                partition: partition.clone(),
                offset: *from,
                end: ends[partition],
            });
        }
        let stretch = |LogEnds { partition, earliest, .. }: LogEnds| {
            let wanted = from[&partition];
            let to = to[&partition].min(ends[&partition]);
            let from = wanted.max(earliest).min(to);
            let gone = u64::try_from(earliest.min(to).get() - wanted.get()).unwrap_or(0);
            let log_end = ends[&partition];
            Stretch { range: LogRange { partition, from, to }, gone, log_end }
        };
        Ok(logs.into_iter().map(stretch).collect())
    }

    /// The logs of the partitions that are read.
    fn logs(&self, kafka: &KafkaConfig) -> Result<Vec<LogEnds>, ReplayError> {
        let mut logs = log_ends(kafka, TIMEOUT)?;
        for bound in [&self.from, &self.to] {
            let Bound::Offsets(offsets) = bound else { continue };
            let unknown = offsets.iter().find(|(named, _)| !logs.iter().any(|log| log.partition == *named));
            if let Some((unknown, _)) = unknown {
                return Err(ReplayError::UnknownPartition(unknown.clone()));
            }
        }
        if let Some(topics) = &self.topics {
            if let Some(unknown) = topics.iter().find(|topic| !kafka.topics.contains(topic)) {
                return Err(ReplayError::UnknownTopic(unknown.clone()));
            }
            logs.retain(|log| topics.iter().any(|topic| **topic == *log.partition.topic));
        }
        if let Bound::Offsets(offsets) = &self.from {
            logs.retain(|log| offsets.iter().any(|(named, _)| *named == log.partition));
        }
        Ok(logs)
    }
}

/// Where a bound is in each partition, be it in its log or not.
fn place(
    bound: &Bound,
    kafka: &KafkaConfig,
    of_log: &HashMap<TopicPartition, NextOffset>,
    ends: &HashMap<TopicPartition, NextOffset>,
) -> Result<HashMap<TopicPartition, NextOffset>, ReplayError> {
    let mut places = of_log.clone();
    match bound {
        Bound::Log => {}
        Bound::Time(time) => places = offsets_at(kafka, ends, *time, TIMEOUT)?,
        Bound::Offsets(offsets) => places.extend(offsets.iter().cloned()),
    }
    Ok(places)
}

/// What a replay is about to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayPlan {
    pub name: ReplayName,
    pub partitions: Vec<ReplayPartition>,
    /// Offsets that were asked for and that retention has deleted, by partition.
    pub gone: Vec<(TopicPartition, u64)>,
    pub begins: Begins,
    asked_for: String,
}

/// How a replay follows on what the tables know of the last one of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    Anew,
    /// It was stopped before its end.
    WhereItStopped,
    /// It came to its end, and the logs have grown since.
    WhereItEnded,
}

impl ReplayPlan {
    /// Compares what is asked for with what the tables know. Changes nothing.
    ///
    /// # Errors
    /// If an unfinished replay of that name reads something else.
    pub fn new(
        name: ReplayName,
        bounds: &Bounds,
        stretches: Vec<Stretch>,
        known: Option<StoredReplay>,
        goes_on_when_finished: bool,
    ) -> Result<Self, ReplayError> {
        let asked_for = bounds.describe();
        let known = known.filter(|known| !known.is_finished || goes_on_when_finished);
        let Some(known) = known else {
            let gone = stretches.iter().filter(|stretch| stretch.gone > 0);
            let gone = gone.map(|stretch| (stretch.range.partition.clone(), stretch.gone)).collect();
            let partitions = stretches.into_iter().map(|stretch| unread(stretch.range)).collect();
            return Ok(Self { name, partitions, gone, begins: Begins::Anew, asked_for });
        };
        if known.asked_for != asked_for {
            return Err(ReplayError::ReadsSomethingElse { name, begun: known.asked_for });
        }
        let (begins, partitions) = if known.is_finished {
            (Begins::WhereItEnded, extended(known.partitions, stretches)?)
        } else {
            (Begins::WhereItStopped, known.partitions)
        };
        Ok(Self { name, partitions, gone: Vec::new(), begins, asked_for })
    }

    /// One that reads on from where these tables are, whatever was replayed into them before.
    pub(super) fn onward(name: ReplayName, partitions: Vec<ReplayPartition>) -> Self {
        let asked_for = "what was behind at a promotion".to_owned();
        Self { name, partitions, gone: Vec::new(), begins: Begins::Anew, asked_for }
    }

    /// Offsets that are left to read. In logs with gaps that is more than there are records.
    pub fn left(&self) -> u64 {
        self.partitions.iter().map(ReplayPartition::left).sum()
    }

    /// Offsets that were read before it was stopped, or came to its end.
    pub fn read_before(&self) -> u64 {
        self.partitions.iter().map(ReplayPartition::read).sum()
    }
}

/// None of it is read yet.
pub(super) fn unread(LogRange { partition, from, to }: LogRange) -> ReplayPartition {
    ReplayPartition { partition, from, to, next: from }
}

/// Up to where the logs end now, with partitions that were added since.
fn extended(mut known: Vec<ReplayPartition>, stretches: Vec<Stretch>) -> Result<Vec<ReplayPartition>, ReplayError> {
    for Stretch { range, log_end, .. } in stretches {
        match known.iter_mut().find(|known| known.partition == range.partition) {
            Some(ReplayPartition { partition, next, .. }) if *next > log_end => {
                let (partition, offset) = (partition.clone(), *next);
                return Err(ReplayError::BeyondTheLog { partition, offset, end: log_end });
            }
            Some(known) => known.to = known.to.max(range.to),
            None => known.push(unread(range)),
        }
    }
    Ok(known)
}

/// What a replay is read and written with.
#[derive(Debug)]
pub struct Replay<'c> {
    pub config: &'c Config,
    pub rate: Option<NonZeroU32>,
    pub publication: Publication,
}

impl Replay<'_> {
    /// Notes the plan in the tables, and starts to read.
    ///
    /// # Errors
    /// If Postgres refuses, or librdkafka can't be started.
    pub async fn start<A: SessionAggregator>(
        &self,
        store: &Store,
        aggregators: Aggregators<A>,
        plan: &ReplayPlan,
    ) -> Result<Service<A>, ReplayError> {
        match plan.begins {
            Begins::Anew => store.begin_replay(&plan.name, &plan.asked_for, &plan.partitions).await?,
            Begins::WhereItEnded => store.extend_replay(&plan.name, &plan.partitions).await?,
            Begins::WhereItStopped => {}
        }
        self.read(store.clone(), aggregators, plan)
    }

    /// Counts what would become of the records, and writes nothing. Without tables, as if nothing were stored.
    ///
    /// # Errors
    /// If librdkafka can't be started.
    pub fn count<A: SessionAggregator>(
        &self,
        tables: Option<Store>,
        aggregators: Aggregators<A>,
        plan: &ReplayPlan,
    ) -> Result<Service<A, DryRun>, ReplayError> {
        let starts = plan.partitions.iter().map(|one| (one.partition.clone(), one.next)).collect();
        self.read(DryRun::new(tables, starts), aggregators, plan)
    }

    fn read<A: SessionAggregator, S: Storage<A>>(
        &self,
        store: S,
        aggregators: Aggregators<A>,
        plan: &ReplayPlan,
    ) -> Result<Service<A, S>, ReplayError> {
        let options = PipelineOptions {
            group_id: plan.name.group_id(),
            keep_rejected: self.config.aggregator.keep_rejected,
            publication: self.publication,
        };
        let range = |one: &ReplayPartition| LogRange { partition: one.partition.clone(), from: one.from, to: one.to };
        let membership = Membership::Alone(plan.partitions.iter().map(range).collect());
        let consumer = start_consumer(self.config, Until::Drained, membership, self.rate, ReadProgress::default())?;
        Ok(Service { consumer, pipeline: Pipeline::new(store, aggregators, options) })
    }
}

/// The latest instant at which the live group was caught up; none where that was never noted, as after drains only. What
/// is read to the logs' ends afterwards holds all that was there then.
///
/// # Errors
/// If Postgres can't be asked.
pub async fn caught_up_at(config: &Config, live: &Store) -> Result<Option<EventTime>, StoreError> {
    let instant = live.caught_up_at(&config.kafka.group_id, &config.kafka.topics).await?;
    Ok(instant.and_then(|instant| EventTime::from_utc(instant).ok()))
}

/// Times out the sessions of a generation that the live service would have timed out by then. Returns how many.
///
/// # Errors
/// If Postgres can't be asked.
pub async fn sweep_as_of<A: SessionAggregator>(
    config: &Config,
    generation: &Store,
    aggregator: &A,
    instant: EventTime,
) -> Result<Option<usize>, StoreError> {
    let scope = SweepScope {
        instant: SweepInstant::At(instant),
        max_sessions: config.sweep.max_sessions.get(),
        publication: Publication::Withheld,
    };
    sweep_all(generation, aggregator, &scope, || {}).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds { from: Bound::Log, to: Bound::Log, topics: None }
    }

    fn stretch(number: i32, from: i64, to: i64) -> Stretch {
        let partition = TopicPartition::new("t", number);
        let (from, to) = (NextOffset::new(from), NextOffset::new(to));
        Stretch { range: LogRange { partition, from, to }, gone: 0, log_end: to }
    }

    fn known(is_finished: bool, next: i64) -> StoredReplay {
        let mut partition = unread(stretch(0, 5, 100).range);
        partition.next = NextOffset::new(next);
        StoredReplay { asked_for: bounds().describe(), is_finished, partitions: vec![partition] }
    }

    fn plan(bounds: &Bounds, known: Option<StoredReplay>, goes_on: bool) -> Result<ReplayPlan, ReplayError> {
        ReplayPlan::new("r".parse().unwrap(), bounds, vec![stretch(0, 7, 150), stretch(1, 0, 30)], known, goes_on)
    }

    #[test]
    fn an_unfinished_replay_goes_on_to_the_end_that_it_was_begun_with() {
        let plan = plan(&bounds(), Some(known(false, 40)), false).unwrap();
        assert_eq!((plan.begins, plan.read_before(), plan.left()), (Begins::WhereItStopped, 35, 60));
    }

    #[test]
    fn a_finished_one_begins_anew_or_goes_on_to_where_the_logs_end_now() {
        let anew = plan(&bounds(), Some(known(true, 100)), false).unwrap();
        assert_eq!((anew.begins, anew.left()), (Begins::Anew, 143 + 30));
        let on = plan(&bounds(), Some(known(true, 100)), true).unwrap();
        assert_eq!((on.begins, on.left()), (Begins::WhereItEnded, 50 + 30));
    }

    #[test]
    fn an_unfinished_one_of_other_bounds_is_not_taken_for_this_one() {
        let other = Bounds { topics: Some(vec!["t".to_owned()]), ..bounds() };
        let refused = plan(&other, Some(known(false, 40)), false);
        assert!(matches!(refused, Err(ReplayError::ReadsSomethingElse { .. })));
    }
}
