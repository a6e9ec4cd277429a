//! A generation brought up to the logs' ends, and made the live one.

use std::time::Duration;

use crate::{
    config::Config,
    fold::{Aggregators, SessionAggregator},
    pipeline::PipelineError,
    record::{NextOffset, TopicPartition},
    store::{AsStoreError, GenerationName, Promotion, Publication, ReplayName, ReplayPartition, Store, StoreError},
};

use super::{
    Bound, Bounds, Monitor, OtherGeneration, Replay, ReplayError, ReplayPlan, Stretch, caught_up_at, replay::unread,
    sweep_as_of,
};

/// The replay by which a generation follows the logs to its promotion.
const NAME: &str = "promotion";
/// So little behind, the rest is read while the live consumer waits.
const CLOSE_ENOUGH: u64 = 5_000;
/// How long writers may have to wait for that.
const CATCH_UP: Duration = Duration::from_secs(20);
/// Where the logs grow faster than a round reads, further rounds don't help.
const MOST_ROUNDS: u32 = 10;

/// Why a generation can't be promoted. The live one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PromotionError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error(
        "replay {replay} into generation {generation} has not come to its end; `sessionfold replay --into {generation}` goes on with it"
    )]
    Unfinished { generation: GenerationName, replay: ReplayName },
    #[error(
        "{partition} was not replayed into generation {generation}; `sessionfold replay --into {generation}` reads it"
    )]
    NotReplayed { generation: GenerationName, partition: TopicPartition },
    #[error("the log of {partition} no longer has {gone} offsets that generation {generation} would need; rebuild it")]
    Gone { generation: GenerationName, partition: TopicPartition, gone: u64 },
    #[error(
        "generation {generation} is {left} offsets behind and doesn't come closer, since the logs grow as fast; nothing was changed"
    )]
    TooFarBehind { generation: GenerationName, left: u64 },
    #[error("what was left to read was not read within {0:?}, while the live consumer waited; nothing was changed")]
    CatchUp(Duration),
    #[error("{0} partition(s) halted while the generation was brought up to date; see above")]
    Halted(u64),
}

/// A promotion that was decided on.
#[derive(Debug)]
pub struct Promoter<'a, A> {
    /// The live one's, with its settings.
    pub config: &'a Config,
    pub live: &'a Store,
    pub next: &'a OtherGeneration,
    /// Those of the next one.
    pub aggregators: Aggregators<A>,
    /// The replay that has filled it.
    pub replay: ReplayName,
}

impl<A: SessionAggregator + Clone> Promoter<'_, A> {
    /// Reads what the generation lacks, then changes over. `watch` hears of each reading and how much it reads.
    ///
    /// # Errors
    /// See [`PromotionError`].
    pub async fn promote(&self, mut watch: impl FnMut(Monitor, u64)) -> Result<(), PromotionError> {
        // Before anything is read: what is read then holds all that was there at that instant.
        let caught_up_at = caught_up_at(self.config, self.live).await?;
        let mut covered = self.covered().await?;
        let mut left = u64::MAX;
        for _ in 0..MOST_ROUNDS {
            let plan = self.plan(&covered)?;
            left = plan.left();
            covered = self.read(&plan, &mut watch).await?;
            if left <= CLOSE_ENOUGH {
                break;
            }
        }
        if left > CLOSE_ENOUGH {
            return Err(PromotionError::TooFarBehind { generation: self.next.generation.name.clone(), left });
        }
        if let Some(instant) = caught_up_at {
            sweep_as_of(self.config, &self.next.store, &self.aggregators.session, instant).await?;
        }
        let from = self.live.generation().await?;
        let promotion = Promotion {
            from: &from,
            to: &self.next.generation,
            replay: &name(),
            group_id: &self.config.kafka.group_id,
            topics: &self.config.kafka.topics,
        };
        let catch_up = async |checkpoints: Vec<(TopicPartition, NextOffset)>| {
            let plan = up_to(&covered, &checkpoints);
            // Nobody writes meanwhile, so it must not take long.
            let read = tokio::time::timeout(CATCH_UP, self.read(&plan, &mut watch)).await;
            covered = read.map_err(|_| PromotionError::CatchUp(CATCH_UP))??;
            Ok(())
        };
        self.live.promote_generation(&promotion, catch_up).await
    }

    /// How far the generation holds each log: to where it was live, or else to where its replay came.
    async fn covered(&self) -> Result<Vec<(TopicPartition, NextOffset)>, PromotionError> {
        let bounds = Bounds { from: Bound::Log, to: Bound::Log, topics: None };
        let logs = tokio::task::block_in_place(|| bounds.locate(&self.config.kafka))?;
        let partitions: Vec<TopicPartition> = logs.iter().map(|log| log.range.partition.clone()).collect();
        let was_live = self.next.store.checkpoints(&self.config.kafka.group_id, &partitions).await?;
        let replayed = self.next.store.replay(&self.replay).await?;
        let needs_replay = partitions.iter().any(|partition| !was_live.contains_key(partition));
        if needs_replay && replayed.as_ref().is_some_and(|replay| !replay.is_finished) {
            let (generation, replay) = (self.next.generation.name.clone(), self.replay.clone());
            return Err(PromotionError::Unfinished { generation, replay });
        }
        let replayed: Vec<ReplayPartition> = replayed.map(|replay| replay.partitions).unwrap_or_default();
        let place = |partition: TopicPartition| {
            let replayed = replayed.iter().find(|one| one.partition == partition);
            match covered(was_live.get(&partition).copied(), replayed) {
                Some(place) => Ok((partition, place)),
                None => {
                    let generation = self.next.generation.name.clone();
                    Err(PromotionError::NotReplayed { generation, partition })
                }
            }
        };
        partitions.into_iter().map(place).collect()
    }

    /// From there to where the logs end now.
    fn plan(&self, covered: &[(TopicPartition, NextOffset)]) -> Result<ReplayPlan, PromotionError> {
        let bounds = Bounds { from: Bound::Offsets(covered.to_vec()), to: Bound::Log, topics: None };
        let stretches = tokio::task::block_in_place(|| bounds.locate(&self.config.kafka))?;
        if let Some(Stretch { range, gone, .. }) = stretches.iter().find(|stretch| stretch.gone > 0) {
            let (generation, partition) = (self.next.generation.name.clone(), range.partition.clone());
            return Err(PromotionError::Gone { generation, partition, gone: *gone });
        }
        Ok(ReplayPlan::onward(name(), stretches.into_iter().map(|stretch| unread(stretch.range)).collect()))
    }

    /// Returns how far it came by its checkpoints: the log may give less than its end promised.
    async fn read(
        &self,
        plan: &ReplayPlan,
        watch: &mut impl FnMut(Monitor, u64),
    ) -> Result<Vec<(TopicPartition, NextOffset)>, PromotionError> {
        let replay = Replay { config: &self.next.config, rate: None, publication: Publication::Withheld };
        let service = replay.start(&self.next.store, self.aggregators.clone(), plan).await?;
        watch(service.monitor(), plan.left());
        let totals = service.run().await?;
        if totals.halted > 0 {
            return Err(PromotionError::Halted(totals.halted));
        }
        self.next.store.finish_replay(&plan.name).await?;
        let read = self.next.store.replay(&plan.name).await?.map(|replay| replay.partitions).unwrap_or_default();
        Ok(read.into_iter().map(|one| (one.partition, one.next)).collect())
    }
}

/// From where the generation is to where the group is. Where the generation is further already, nothing is read: the group
/// goes on from there.
fn up_to(covered: &[(TopicPartition, NextOffset)], checkpoints: &[(TopicPartition, NextOffset)]) -> ReplayPlan {
    let partition = |(partition, from): &(TopicPartition, NextOffset)| {
        let checkpoint = checkpoints.iter().find(|(known, _)| known == partition).map_or(*from, |(_, next)| *next);
        ReplayPartition { partition: partition.clone(), from: *from, to: checkpoint.max(*from), next: *from }
    };
    ReplayPlan::onward(name(), covered.iter().map(partition).collect())
}

impl AsStoreError for PromotionError {
    fn as_store_error(&self) -> Option<&StoreError> {
        match self {
            PromotionError::Store(error) => Some(error),
            _ => None,
        }
    }
}

fn name() -> ReplayName {
    // A constant that follows the rule for names.
    #[expect(clippy::unwrap_used, reason = "a test parses it")]
    NAME.parse().unwrap()
}

/// What a replay read goes beyond what was read while the generation was live only where the two meet.
fn covered(was_live: Option<NextOffset>, replayed: Option<&ReplayPartition>) -> Option<NextOffset> {
    match (was_live, replayed) {
        (Some(was_live), Some(replayed)) if replayed.from <= was_live => Some(was_live.max(replayed.next)),
        (Some(was_live), _) => Some(was_live),
        (None, replayed) => replayed.map(|replayed| replayed.next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_name_is_one() {
        assert_eq!(name().as_str(), NAME);
    }

    #[test]
    fn a_replay_extends_what_was_live_only_without_a_gap() {
        let replayed = |from, next| ReplayPartition {
            partition: TopicPartition::new("t", 0),
            from: NextOffset::new(from),
            to: NextOffset::new(next),
            next: NextOffset::new(next),
        };
        let covered = |was_live: Option<i64>, replayed: Option<ReplayPartition>| {
            covered(was_live.map(NextOffset::new), replayed.as_ref()).map(NextOffset::get)
        };
        assert_eq!(covered(None, None), None);
        assert_eq!(covered(None, Some(replayed(0, 70))), Some(70));
        assert_eq!(covered(Some(100), None), Some(100));
        assert_eq!(covered(Some(100), Some(replayed(0, 70))), Some(100));
        assert_eq!(covered(Some(100), Some(replayed(100, 170))), Some(170));
        assert_eq!(covered(Some(100), Some(replayed(101, 170))), Some(100));
    }
}
