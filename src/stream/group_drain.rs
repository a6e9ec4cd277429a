//! How long a member that has drained its partitions stays in the group. Whoever leaves makes the others stand still until
//! the group has handed out its partitions anew, and they may be in the middle of theirs.

use std::{
    collections::HashMap,
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    thread,
    time::{Duration, Instant},
};

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
/// Whoever hasn't moved for so long isn't waited for. Longer than a rebalance takes as a rule.
const STANDSTILL: Duration = Duration::from_secs(5);
/// Nor is anybody who needs longer: what leaving costs them is little beside it.
const LONGEST: Duration = Duration::from_secs(30);
/// How long each answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the group's drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupStanding {
    /// The others read.
    Reading,
    /// The whole group has read what there was when this member had drained its partitions.
    Drained,
    /// The others stand still or need too long, or nothing is known of them.
    NotWorthWaiting,
}

/// Looks on, in a thread of its own, until the whole group has drained its partitions, or isn't worth waiting for.
pub(super) struct GroupDrain {
    standing: GroupStanding,
    /// The thread ends once this is gone.
    news: Receiver<GroupStanding>,
}

impl Poller {
    /// A member that has drained its partitions stays until the others have, too, or for as long as they are worth waiting
    /// for.
    pub(super) fn may_leave_the_group(&mut self) -> bool {
        let Some(group) = &self.group else { return true };
        if self.group_drain.is_none() {
            if self.share().is_some_and(Share::is_all) {
                return true;
            }
            tracing::info!("drained: staying in the group until the others are, too");
            self.group_drain = Some(GroupDrain::begin(group.clone()));
        }
        self.group_standing() != Some(GroupStanding::Reading)
    }

    /// None while this member has not drained its own partitions.
    pub(super) fn group_standing(&mut self) -> Option<GroupStanding> {
        self.group_drain.as_mut().map(GroupDrain::standing)
    }
}

impl GroupDrain {
    fn begin(config: KafkaConfig) -> Self {
        let (sender, news) = channel();
        let look_on = move || {
            if let Err(error) = look_on(&config, &sender) {
                tracing::debug!(%error, "how far the others of the group are isn't known");
            }
        };
        if let Err(error) = thread::Builder::new().name("group-drain".to_owned()).spawn(look_on) {
            tracing::debug!(%error, "nobody can look how far the others of the group are");
        }
        Self { standing: GroupStanding::Reading, news }
    }

    fn standing(&mut self) -> GroupStanding {
        loop {
            match self.news.try_recv() {
                Ok(standing) => self.standing = standing,
                Err(TryRecvError::Disconnected) if self.standing == GroupStanding::Reading => {
                    self.standing = GroupStanding::NotWorthWaiting;
                }
                Err(_) => return self.standing,
            }
        }
    }
}

fn look_on(config: &KafkaConfig, news: &Sender<GroupStanding>) -> Result<(), StreamError> {
    let ends = log_ends(config, PATIENCE)?;
    let partitions: Vec<TopicPartition> = ends.iter().map(|ends| ends.partition.clone()).collect();
    let mut remaining = Remaining::of(ends, Instant::now());
    let onlooker = onlooker(config)?;
    loop {
        let standing = remaining.standing(&committed_offsets(&onlooker, &partitions, PATIENCE)?, Instant::now());
        let is_wanted = news.send(standing).is_ok();
        if standing != GroupStanding::Reading || !is_wanted {
            return Ok(());
        }
        thread::sleep(INTERVAL);
    }
}

/// What the group has yet to read of what there was.
struct Remaining {
    ends: Vec<LogEnds>,
    begun: Instant,
    /// In records, and when it last changed.
    left: Option<u64>,
    changed_at: Instant,
}

impl Remaining {
    fn of(ends: Vec<LogEnds>, now: Instant) -> Self {
        Self { ends, begun: now, left: None, changed_at: now }
    }

    fn standing(&mut self, committed: &HashMap<TopicPartition, NextOffset>, now: Instant) -> GroupStanding {
        // Where more has come meanwhile, a partition may be beyond what was its end.
        let left_of = |ends: &LogEnds| ends.left_from(committed.get(&ends.partition).copied()).unwrap_or(0);
        let left = self.ends.iter().map(left_of).sum();
        if self.left != Some(left) {
            (self.left, self.changed_at) = (Some(left), now);
        }
        if left == 0 {
            GroupStanding::Drained
        } else if now.duration_since(self.changed_at) < STANDSTILL && now.duration_since(self.begun) < LONGEST {
            GroupStanding::Reading
        } else {
            GroupStanding::NotWorthWaiting
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GroupStanding::*, *};

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

    #[test]
    fn nobody_is_waited_for_for_ever() {
        let now = Instant::now();
        let mut remaining = remaining(now);
        let mut standing = |second: u32| remaining.standing(&at([100, i64::from(second)]), now + second * SECOND);
        assert!((0..30).all(|second| standing(second) == Reading));
        assert_eq!(standing(30), NotWorthWaiting);
    }

    #[test]
    fn nobody_is_waited_for_of_whom_nothing_is_known() {
        let (sender, news) = channel();
        let mut drain = GroupDrain { standing: Reading, news };
        assert_eq!(drain.standing(), Reading);
        drop(sender);
        assert_eq!(drain.standing(), NotWorthWaiting);
    }
}
