//! How long a member that has drained its partitions stays in the group. Whoever leaves makes the others stand still until
//! the group has handed out its partitions anew, and they may be in the middle of theirs.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rdkafka::consumer::Consumer as _;

use crate::{
    config::KafkaConfig,
    record::{NextOffset, TopicPartition},
};

use super::{
    error::StreamError,
    lanes::Share,
    log_ends::{LogEnds, committed_offsets, log_ends, onlooker},
    poller::Poller,
};

/// How often Kafka is asked how far the group is.
const INTERVAL: Duration = Duration::from_millis(200);
/// Nobody is waited for who has not moved for so long. Longer than a rebalance takes as a rule.
const STANDSTILL: Duration = Duration::from_secs(10);
/// Nor is anybody who needs longer: what leaving costs them is little beside it.
const LONGEST: Duration = Duration::from_secs(30);
/// All leave so much later than they could: the last one finds out in that time that it has drained its partitions, and has
/// begun to look on when the group rebalances. Who is the last doesn't know it, since offsets tell only what was committed.
const LAST_FINDS_OUT: Duration = Duration::from_secs(1);
/// How long each answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of looking on is waited for where it isn't wanted any more.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// How the others' drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Reading,
    /// They have read what there was when this member had drained its partitions.
    Drained,
    /// They stand still or need too long, or nothing is known of them.
    NotWorthWaiting,
}

/// Looks on, in a thread of its own, until the others have drained their partitions, or aren't worth waiting for.
pub(super) struct GroupDrain {
    begun: Instant,
    standing: Standing,
    /// None once it has ended, or where there could be none.
    looking_on: Option<JoinHandle<Standing>>,
    is_wanted: Arc<AtomicBool>,
}

impl Poller {
    /// A member that has drained its partitions stays until the others have, too, or for as long as they are worth waiting
    /// for.
    pub(super) fn may_leave_the_group(&mut self) -> bool {
        let Some(group) = &self.group else { return true };
        // A static member's partitions stay its own for a while: nobody notices that it has left.
        let is_static = group.client.contains_key("group.instance.id");
        if self.group_drain.is_none() && (is_static || self.share().is_some_and(Share::is_all)) {
            return true;
        }
        let drain = self.group_drain.get_or_insert_with(|| {
            tracing::info!("drained: staying in the group until the others are, too");
            GroupDrain::begin(group.clone(), self.readings.keys().cloned().collect())
        });
        drain.standing() != Standing::Reading
    }

    /// Whether the group is rebalancing though this member and the others have read what there was, as it does where
    /// another has just left. The end of that may be long in coming: Kafka waits for a member that hangs as long as its
    /// `max.poll.interval.ms`, and the development broker at times without end for one that has left.
    pub(super) fn needs_no_answer(&mut self) -> bool {
        let needs_none = self.consumer.context().granted().is_none()
            && self.group_drain.as_mut().is_some_and(|drain| drain.standing() == Standing::Drained);
        if needs_none {
            tracing::info!("all partitions of the group are drained: leaving it in the middle of a rebalance");
        }
        needs_none
    }
}

impl GroupDrain {
    /// `own` are drained.
    fn begin(config: KafkaConfig, own: HashSet<TopicPartition>) -> Self {
        let (begun, is_wanted) = (Instant::now(), Arc::new(AtomicBool::new(true)));
        let still_wanted = Arc::clone(&is_wanted);
        let look_on = move || {
            look_on(&config, &own, &still_wanted).unwrap_or_else(|error| {
                tracing::debug!(%error, "how far the others of the group are isn't known");
                Standing::NotWorthWaiting
            })
        };
        let looking_on = thread::Builder::new().name("group-drain".to_owned()).spawn(look_on);
        let looking_on = looking_on
            .inspect_err(|error| tracing::debug!(%error, "nobody can look how far the others of the group are"))
            .ok();
        let standing = if looking_on.is_some() { Standing::Reading } else { Standing::NotWorthWaiting };
        Self { begun, standing, looking_on, is_wanted }
    }

    fn standing(&mut self) -> Standing {
        if let Some(ended) = self.looking_on.take_if(|looking_on| looking_on.is_finished()) {
            self.standing = ended.join().unwrap_or(Standing::NotWorthWaiting);
        } else if self.standing == Standing::Reading && self.begun.elapsed() >= LONGEST {
            self.standing = Standing::NotWorthWaiting;
        }
        self.standing
    }
}

impl Drop for GroupDrain {
    /// The thread has clients of its own, which should be gone before the program ends.
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Relaxed);
        let Some(looking_on) = self.looking_on.take() else { return };
        looking_on.thread().unpark();
        let deadline = Instant::now() + ENDS_WITHIN;
        while !looking_on.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn look_on(
    config: &KafkaConfig,
    own: &HashSet<TopicPartition>,
    is_wanted: &AtomicBool,
) -> Result<Standing, StreamError> {
    let ends =
        log_ends(config, PATIENCE)?.into_iter().filter(|ends| !own.contains(&ends.partition)).collect::<Vec<_>>();
    let partitions: Vec<TopicPartition> = ends.iter().map(|ends| ends.partition.clone()).collect();
    let mut remaining = Remaining::of(ends, Instant::now());
    let onlooker = onlooker(config)?;
    loop {
        let standing = remaining.standing(&committed_offsets(&onlooker, &partitions, PATIENCE)?, Instant::now());
        if standing == Standing::Drained {
            thread::park_timeout(LAST_FINDS_OUT);
        }
        if standing != Standing::Reading || !is_wanted.load(Ordering::Relaxed) {
            return Ok(standing);
        }
        thread::park_timeout(INTERVAL);
    }
}

/// What the others have yet to read of what there was.
struct Remaining {
    ends: Vec<LogEnds>,
    /// In offsets, and when it last changed.
    left: Option<u64>,
    changed_at: Instant,
}

impl Remaining {
    fn of(ends: Vec<LogEnds>, now: Instant) -> Self {
        Self { ends, left: None, changed_at: now }
    }

    fn standing(&mut self, committed: &HashMap<TopicPartition, NextOffset>, now: Instant) -> Standing {
        // Where more has come meanwhile, a partition may be beyond what was its end.
        let left_of = |ends: &LogEnds| ends.left_from(committed.get(&ends.partition).copied()).unwrap_or(0);
        let left = self.ends.iter().map(left_of).sum();
        if self.left != Some(left) {
            (self.left, self.changed_at) = (Some(left), now);
        }
        if left == 0 {
            Standing::Drained
        } else if now.duration_since(self.changed_at) < STANDSTILL {
            Standing::Reading
        } else {
            Standing::NotWorthWaiting
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Standing::*, *};

    const SECOND: Duration = Duration::from_secs(1);

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("events", number)
    }

    /// Two partitions of 100 records each.
    fn remaining(now: Instant) -> Remaining {
        let ends = |number| LogEnds {
            partition: partition(number),
            earliest: NextOffset::new(0),
            latest: NextOffset::new(100),
            committed: None,
        };
        Remaining::of(vec![ends(0), ends(1)], now)
    }

    fn at(offsets: [i64; 2]) -> HashMap<TopicPartition, NextOffset> {
        (0..).zip(offsets).map(|(number, offset)| (partition(number), NextOffset::new(offset))).collect()
    }

    #[test]
    fn the_others_are_waited_for_until_they_have_read_what_there_was() {
        let now = Instant::now();
        let mut remaining = remaining(now);
        assert_eq!(remaining.standing(&HashMap::new(), now), Reading, "nothing is committed yet");
        assert_eq!(remaining.standing(&at([100, 99]), now + SECOND), Reading);
        assert_eq!(remaining.standing(&at([100, 100]), now + 2 * SECOND), Drained);
        assert_eq!(remaining.standing(&at([100, 250]), now + 2 * SECOND), Drained, "more has come meanwhile");
    }

    #[test]
    fn nobody_is_waited_for_who_stands_still() {
        let now = Instant::now();
        let mut remaining = remaining(now);
        assert_eq!(remaining.standing(&at([100, 10]), now), Reading);
        assert_eq!(remaining.standing(&at([100, 20]), now + STANDSTILL - SECOND), Reading);
        assert_eq!(remaining.standing(&at([100, 20]), now + STANDSTILL), Reading, "it moved in between");
        assert_eq!(remaining.standing(&at([100, 20]), now + 2 * STANDSTILL - SECOND), NotWorthWaiting);
    }

    /// By a thread that looks on for as long as it is wanted.
    fn drain(begun: Instant, look_on: impl FnOnce(&AtomicBool) -> Standing + Send + 'static) -> GroupDrain {
        let is_wanted = Arc::new(AtomicBool::new(true));
        let still_wanted = Arc::clone(&is_wanted);
        let looking_on = Some(thread::spawn(move || look_on(&still_wanted)));
        GroupDrain { begun, standing: Reading, looking_on, is_wanted }
    }

    fn for_ever(is_wanted: &AtomicBool) -> Standing {
        while is_wanted.load(Ordering::Relaxed) {
            thread::park();
        }
        Reading
    }

    #[test]
    fn nobody_is_waited_for_for_ever() {
        let now = Instant::now();
        assert_eq!(drain(now, for_ever).standing(), Reading);
        assert_eq!(drain(now.checked_sub(LONGEST).unwrap(), for_ever).standing(), NotWorthWaiting);
    }

    #[test]
    fn nobody_is_waited_for_where_looking_on_has_panicked() {
        let mut drain = drain(Instant::now(), |_| panic!("deliberately"));
        while drain.standing() == Reading {
            thread::yield_now();
        }
        assert_eq!(drain.standing(), NotWorthWaiting);
    }
}
