//! Whether work that could go on does. Without a clock or I/O of its own.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use crate::{
    record::{NextOffset, TopicPartition},
    stream::{PartitionStanding, ReadStanding},
};

/// Judges by what it sees again and again. What can't go on, since Postgres or a broker is away, isn't stuck: starting
/// the program again wouldn't help it.
#[derive(Debug)]
pub(super) struct Watchdog {
    patience: Duration,
    /// As long as a batch may wait for company.
    batch_wait: Duration,
    positions: BTreeMap<TopicPartition, Since<Option<NextOffset>>>,
    work: Option<Since<u64>>,
}

/// A value, and since when it has been seen.
#[derive(Debug)]
struct Since<T> {
    value: T,
    since: Instant,
}

/// What is seen at one moment.
#[derive(Debug)]
pub(super) struct Sighting<'s> {
    pub(super) at: Instant,
    pub(super) standing: &'s ReadStanding,
    /// Fetching stands still, since the pipeline is at its limit.
    pub(super) paused: bool,
    /// The last probe was answered, and the circuit breaker is closed.
    pub(super) postgres_answers: bool,
    pub(super) work: Work,
}

/// What the pipeline has to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Records that were read, and neither committed nor let go.
    pub(super) in_hand: u64,
    /// Transactions that ended, however they did.
    pub(super) ended: u64,
    /// Transactions that haven't. Each has a timeout of its own.
    pub(super) under_way: u32,
}

/// What stands still though it could go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stuck {
    Partition(TopicPartition),
    /// What was read is not being worked on.
    Pipeline,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stuck::Partition(partition) => write!(f, "{partition} has unread records and stands still"),
            Stuck::Pipeline => f.write_str("what was read is not being worked on"),
        }
    }
}

impl Watchdog {
    pub(super) fn new(patience: Duration, batch_wait: Duration) -> Self {
        Self { patience, batch_wait, positions: BTreeMap::new(), work: None }
    }

    /// What has stood still for longer than the patience.
    pub(super) fn see(&mut self, sighting: &Sighting<'_>) -> Vec<Stuck> {
        let mut stuck = self.see_partitions(sighting);
        if self.is_work_stuck(sighting) {
            stuck.push(Stuck::Pipeline);
        }
        stuck
    }

    fn see_partitions(&mut self, sighting: &Sighting<'_>) -> Vec<Stuck> {
        let may_go_on = |standing: &PartitionStanding| {
            let waits = standing.position.is_none() || standing.lag.is_some_and(|lag| lag > 0);
            waits && !standing.halted && standing.connected && sighting.postgres_answers && !sighting.paused
        };
        let mut stuck = Vec::new();
        let mut positions = BTreeMap::new();
        for (partition, standing) in sighting.standing.partitions.iter().filter(|(_, standing)| may_go_on(standing)) {
            let before = self.positions.remove(partition).filter(|before| before.value == standing.position);
            let seen = before.unwrap_or(Since { value: standing.position, since: sighting.at });
            if sighting.at.saturating_duration_since(seen.since) > self.patience {
                stuck.push(Stuck::Partition(partition.clone()));
            }
            positions.insert(partition.clone(), seen);
        }
        // Those that can't go on, or are gone, begin anew.
        self.positions = positions;
        stuck
    }

    fn is_work_stuck(&mut self, sighting: &Sighting<'_>) -> bool {
        let Work { in_hand, ended, under_way } = sighting.work;
        if in_hand == 0 || under_way > 0 || !sighting.postgres_answers {
            self.work = None;
            return false;
        }
        let before = self.work.take().filter(|before| before.value == ended);
        let seen = self.work.insert(before.unwrap_or(Since { value: ended, since: sighting.at }));
        sighting.at.saturating_duration_since(seen.since) > self.patience + self.batch_wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const IDLE: Work = Work { in_hand: 0, ended: 0, under_way: 0 };

    fn partition() -> TopicPartition {
        TopicPartition::new("t", 3)
    }

    fn behind() -> PartitionStanding {
        PartitionStanding {
            position: Some(NextOffset::new(7)),
            lag: Some(5),
            last_record_at: None,
            last_at_end: None,
            halted: false,
            connected: true,
        }
    }

    /// What a watchdog says at the end of a time in which nothing changes.
    struct Scene {
        standing: PartitionStanding,
        paused: bool,
        postgres_answers: bool,
        work: Work,
    }

    impl Scene {
        fn new() -> Self {
            Self { standing: behind(), paused: false, postgres_answers: true, work: IDLE }
        }

        fn see(&self, watchdog: &mut Watchdog, at: Instant) -> Vec<Stuck> {
            let partitions = BTreeMap::from([(partition(), self.standing)]);
            let standing = ReadStanding { partitions, ..ReadStanding::default() };
            let Self { paused, postgres_answers, work, .. } = *self;
            watchdog.see(&Sighting { at, standing: &standing, paused, postgres_answers, work })
        }

        fn after(&self, seconds: u64) -> Vec<Stuck> {
            let (mut watchdog, begun) = (Watchdog::new(PATIENCE, Duration::from_secs(1)), Instant::now());
            let mut said = Vec::new();
            for second in 0..=seconds {
                said = self.see(&mut watchdog, begun + Duration::from_secs(second));
            }
            said
        }
    }

    #[test]
    fn a_partition_that_could_go_on_and_does_not_is_stuck_once_patience_has_ended() {
        assert_eq!(Scene::new().after(60), []);
        assert_eq!(Scene::new().after(61), [Stuck::Partition(partition())]);
        let not_begun = PartitionStanding { position: None, lag: None, ..behind() };
        assert_eq!(Scene { standing: not_begun, ..Scene::new() }.after(61), [Stuck::Partition(partition())]);
    }

    #[test]
    fn what_cannot_go_on_or_has_nothing_to_do_is_not_stuck() {
        for standing in [
            PartitionStanding { lag: Some(0), ..behind() },
            PartitionStanding { halted: true, ..behind() },
            PartitionStanding { connected: false, ..behind() },
        ] {
            assert_eq!(Scene { standing, ..Scene::new() }.after(600), []);
        }
        assert_eq!(Scene { paused: true, ..Scene::new() }.after(600), []);
        assert_eq!(Scene { postgres_answers: false, ..Scene::new() }.after(600), []);
    }

    #[test]
    fn patience_begins_anew_when_a_partition_moves_and_after_postgres_was_away() {
        let (mut watchdog, begun) = (Watchdog::new(PATIENCE, Duration::ZERO), Instant::now());
        let second = |second| begun + Duration::from_secs(second);
        let mut scene = Scene::new();
        assert_eq!(scene.see(&mut watchdog, second(0)), []);
        scene.standing.position = Some(NextOffset::new(8));
        assert_eq!(scene.see(&mut watchdog, second(61)), []);
        assert_eq!(scene.see(&mut watchdog, second(122)), [Stuck::Partition(partition())]);
        scene.postgres_answers = false;
        assert_eq!(scene.see(&mut watchdog, second(123)), []);
        scene.postgres_answers = true;
        assert_eq!(scene.see(&mut watchdog, second(124)), []);
        assert_eq!(scene.see(&mut watchdog, second(184)), []);
        assert_eq!(scene.see(&mut watchdog, second(185)), [Stuck::Partition(partition())]);
    }

    #[test]
    fn work_in_hand_that_nobody_works_on_is_stuck() {
        let standing = PartitionStanding { lag: Some(0), ..behind() };
        let after = |work, seconds| Scene { standing, work, ..Scene::new() }.after(seconds);
        let left = Work { in_hand: 5, ..IDLE };
        assert_eq!(after(left, 61), []);
        assert_eq!(after(left, 62), [Stuck::Pipeline]);
        assert_eq!(after(Work { under_way: 1, ..left }, 600), []);
        assert_eq!(after(IDLE, 600), []);
    }
}
