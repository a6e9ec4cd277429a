//! Lanes: batches that are worked on side by side, so that one is folded while Postgres writes another.
//!
//! A partition number belongs to one lane, whatever the topic. Producers key by session, so a session's events come in
//! partitions of one number, and two lanes write different sessions. Where a producer does otherwise, the versions of
//! the sessions decide, as between two instances.
//!
//! The lanes are the whole group's: what fills the time in which one waits for the other may as well be another
//! instance's batch, and more of them than Postgres has cores only stand in each other's way.

use std::{num::NonZeroUsize, time::Duration};

use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

use crate::record::TopicPartition;

use super::{
    batch::{Amount, Batch, BatchBuilder, BatchLimits, InFlightCount},
    lease::Lease,
};

/// The batches of all lanes that are being filled.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// To how many of them partitions are given.
    in_use: usize,
    /// How many the whole group has.
    of_group: NonZeroUsize,
    /// Of all lanes together.
    limits: BatchLimits,
}

/// One of the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneNumber(usize);

impl LaneNumber {
    #[cfg(test)]
    pub(super) const FIRST: Self = Self(0);
}

/// How many of the group's partitions one member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) held: usize,
    pub(super) of_all: usize,
}

impl Share {
    pub(super) fn is_all(self) -> bool {
        self.held >= self.of_all
    }

    /// As great a part of this number, to the nearest whole one that isn't zero.
    fn of(self, number: usize) -> usize {
        let Self { held, of_all } = self;
        let nearest = (2 * number * held + of_all).checked_div(2 * of_all);
        nearest.unwrap_or(number).clamp(1, number)
    }
}

#[derive(Debug)]
struct Lane {
    builder: BatchBuilder,
    /// None once reading has ended.
    batches: Option<Sender<Batch>>,
    in_flight: InFlightCount,
}

/// Whether there is room for more records, once the batches that can go are gone.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandOver {
    Done,
    /// What waits must go first.
    Blocked,
    /// The pipeline is gone; nobody will commit what was read.
    Closed,
}

/// Nobody takes a lane's batches any more.
struct PipelineGone;

impl Lanes {
    /// As many as the group has, but no more than `most`. All of them are in use until it is known that others have
    /// partitions, too.
    pub(super) fn open(
        limits: BatchLimits,
        of_group: NonZeroUsize,
        most: NonZeroUsize,
    ) -> (Self, Vec<Receiver<Batch>>) {
        let lanes = of_group.min(most);
        // At least one in each lane.
        let limits = BatchLimits { max_events: limits.max_events.max(lanes.get()), ..limits };
        let channels = (0..lanes.get()).map(|_| mpsc::channel(1));
        let open = |(sender, receiver)| {
            let builder = BatchBuilder::new(limits);
            (Lane { builder, batches: Some(sender), in_flight: InFlightCount::default() }, receiver)
        };
        let (opened, receivers) = channels.map(open).unzip();
        let mut lanes = Self { lanes: opened, in_use: lanes.get(), of_group, limits };
        lanes.share_limits();
        (lanes, receivers)
    }

    /// Gives the partitions to this member's part of the group's lanes, or to all there are. To be said while none is
    /// read, since one number's partitions share a lane. Returns how many that are.
    pub(super) fn use_share(&mut self, share: Option<Share>) -> usize {
        let wanted = share.map_or(self.lanes.len(), |share| share.of(self.of_group.get()));
        self.in_use = wanted.min(self.lanes.len());
        self.share_limits();
        self.in_use
    }

    /// The lanes share the limits, so that their number changes nothing about the memory, nor how often a session's row
    /// is written. A batch must go with its lane's share. Where it waits for the one before it may grow further, since a
    /// lane that is ahead would else end the reading for the others.
    fn share_limits(&mut self) {
        let Self { lanes, in_use, limits, .. } = self;
        let share = BatchLimits {
            max_events: limits.max_events.div_ceil(*in_use),
            max_bytes: limits.max_bytes.div_ceil(*in_use),
            ..*limits
        };
        lanes.iter_mut().for_each(|lane| lane.builder.set_limits(share));
    }

    /// The lane of a partition whose reading begins.
    pub(super) fn choose(&self, partition: &TopicPartition) -> LaneNumber {
        LaneNumber(usize::try_from(partition.partition).unwrap_or(0) % self.in_use)
    }

    /// The batch that is being filled there.
    pub(super) fn batch(&mut self, LaneNumber(lane): LaneNumber) -> &mut BatchBuilder {
        &mut self.lanes[lane].builder
    }

    /// Records that were read and not handed over yet.
    pub(super) fn len(&self) -> u64 {
        self.waiting().events as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.builder.is_empty())
    }

    fn waiting(&self) -> Amount {
        self.lanes.iter().map(|lane| lane.builder.amount()).sum()
    }

    /// Whether no more records are to be read. That bounds the memory: as many wait at most as the limits say, and twice
    /// as many are held in all. What is worked on counts twice, since it takes at least as much again in sessions.
    pub(super) fn is_full(&self) -> bool {
        let (waiting, worked_on) = (self.waiting(), self.lanes.iter().map(|lane| lane.in_flight.amount()).sum());
        let weight: Amount = [waiting, worked_on, worked_on].into_iter().sum();
        waiting.reaches(1, &self.limits) || weight.reaches(3, &self.limits)
    }

    /// What the pipeline said before it dropped the last batch can be heard once this is true.
    pub(super) fn is_nothing_in_flight(&self) -> bool {
        self.lanes.iter().all(|lane| lane.in_flight.is_zero())
    }

    /// How long until a batch may have to go; none where there is none.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.lanes.iter().filter_map(|lane| lane.builder.time_left()).min()
    }

    /// Hands over each batch that is full, or old enough; with `last`, all.
    pub(super) fn hand_over(&mut self, last: bool) -> HandOver {
        for lane in &mut self.lanes {
            if lane.hand_over(last).is_err() {
                return HandOver::Closed;
            }
        }
        if self.is_full() { HandOver::Blocked } else { HandOver::Done }
    }

    /// Takes out the records of leases that ended; returns how many.
    pub(super) fn discard(&mut self, ended: impl Fn(&Lease) -> bool) -> u64 {
        self.lanes.iter_mut().map(|lane| lane.builder.discard(&ended)).sum()
    }

    /// Tells the pipeline that no batch comes any more.
    pub(super) fn close(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.batches = None);
    }
}

impl Lane {
    /// A batch goes only when the one before is done, so it is as large as what came meanwhile: small where there is
    /// little to do, and full under a backlog.
    fn hand_over(&mut self, last: bool) -> Result<(), PipelineGone> {
        let is_due = self.builder.is_full() || last || self.builder.is_due();
        if self.builder.is_empty() || !is_due || !self.in_flight.is_zero() {
            return Ok(());
        }
        let Some(batches) = &self.batches else { return Ok(()) };
        match batches.try_reserve() {
            Ok(room) => room.send(self.builder.take(&self.in_flight)),
            Err(TrySendError::Closed(())) => return Err(PipelineGone),
            // Nothing is in flight, so nothing can be in the channel.
            Err(TrySendError::Full(())) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::record::{NextOffset, RecordOffset, TopicPartition};

    use super::{
        super::{
            batch::{Content, Item},
            lease::Leases,
        },
        *,
    };

    const A_MINUTE: Duration = Duration::from_secs(60);

    /// Two lanes that share these limits, and what reads them.
    fn lanes(max_events: usize, max_wait: Duration) -> (Lanes, Vec<Receiver<Batch>>) {
        let limits = BatchLimits { max_events, max_bytes: 1 << 20, max_wait };
        let two = NonZeroUsize::new(2).unwrap();
        Lanes::open(limits, two, two)
    }

    /// Records of this partition, in order.
    struct Log {
        lease: Lease,
        next: i64,
    }

    impl Log {
        fn new(topic: &str, number: i32) -> Self {
            Self { lease: Leases::default().grant([TopicPartition::new(topic, number)]).remove(0), next: 0 }
        }

        fn push(&mut self, lanes: &mut Lanes) {
            let position = NextOffset::new(self.next);
            let offset = RecordOffset::new(self.next);
            let item = |slice| Item { slice, offset, timestamp: None, bytes: 0, content: Content::Ignored };
            let lane = lanes.choose(self.lease.partition());
            lanes.batch(lane).push(&self.lease, position, item);
            self.next += 1;
        }

        fn push_some(&mut self, lanes: &mut Lanes, count: usize) {
            (0..count).for_each(|_| self.push(lanes));
        }
    }

    #[test]
    fn a_partition_number_has_one_lane_whatever_the_topic() {
        let (mut lanes, mut receivers) = lanes(100, A_MINUTE);
        for (topic, number) in [("a", 0), ("b", 0), ("a", 1), ("b", 2), ("b", 3)] {
            Log::new(topic, number).push(&mut lanes);
        }
        assert_eq!(lanes.hand_over(true), HandOver::Done);
        let mut numbers = receivers.iter_mut().map(|receiver| {
            let batch = receiver.try_recv().unwrap();
            batch.slices.iter().map(|slice| slice.lease.partition().partition).collect::<Vec<_>>()
        });
        assert_eq!((numbers.next(), numbers.next()), (Some(vec![0, 0, 2]), Some(vec![1, 3])));
    }

    #[test]
    fn a_member_uses_its_part_of_the_lanes_and_at_least_one() {
        let of = |held, of_all, lanes| Share { held, of_all }.of(lanes);
        assert_eq!([of(24, 24, 2), of(20, 24, 2), of(12, 24, 2), of(14, 24, 2), of(1, 24, 2)], [2, 2, 1, 1, 1]);
        assert_eq!([of(8, 24, 6), of(24, 24, 1), of(1, 500, 16)], [2, 1, 1]);
        // The topics may have grown since they were counted, or not have answered.
        assert_eq!([of(30, 24, 2), of(24, 0, 2), of(0, 0, 2), of(0, 24, 2)], [2, 2, 2, 1]);
    }

    #[test]
    fn the_groups_lanes_are_shared_before_they_are_limited_by_the_connections() {
        let limits = BatchLimits { max_events: 8, max_bytes: 1 << 20, max_wait: A_MINUTE };
        let [eight, four] = [8, 4].map(|number| NonZeroUsize::new(number).unwrap());
        let (mut lanes, receivers) = Lanes::open(limits, eight, four);
        assert_eq!(receivers.len(), 4);
        let mut of = |held| lanes.use_share(Some(Share { held, of_all: 8 }));
        assert_eq!([of(8), of(4), of(2), of(1)], [4, 4, 2, 1]);
        assert_eq!(lanes.use_share(None), 4);
    }

    #[test]
    fn a_lane_that_is_used_alone_has_all_of_the_limits() {
        let (mut lanes, mut receivers) = lanes(4, A_MINUTE);
        assert_eq!(lanes.use_share(Some(Share { held: 2, of_all: 4 })), 1);
        let (mut even, mut odd) = (Log::new("a", 0), Log::new("a", 1));
        even.push_some(&mut lanes, 2);
        odd.push(&mut lanes);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        assert!(receivers[0].try_recv().is_err(), "three are not all that may wait");
        odd.push(&mut lanes);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        assert_eq!(receivers[0].try_recv().unwrap().items.len(), 4);
    }

    #[test]
    fn a_full_batch_waits_until_the_one_before_is_dropped() {
        let (mut lanes, mut receivers) = lanes(4, A_MINUTE);
        let mut log = Log::new("a", 0);
        log.push_some(&mut lanes, 2);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        let first = receivers[0].try_recv().unwrap();
        assert_eq!(first.items.len(), 2);
        log.push_some(&mut lanes, 3);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        assert!(receivers[0].try_recv().is_err());
        drop(first);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        assert_eq!(receivers[0].try_recv().unwrap().items.len(), 3);
    }

    #[test]
    fn reading_goes_on_for_the_other_lane_until_as_much_waits_as_all_may_work_on() {
        let (mut lanes, mut receivers) = lanes(4, A_MINUTE);
        let (mut ahead, mut behind) = (Log::new("a", 0), Log::new("a", 1));
        ahead.push_some(&mut lanes, 2);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        let first = receivers[0].try_recv().unwrap();
        ahead.push_some(&mut lanes, 3);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        behind.push_some(&mut lanes, 1);
        assert_eq!(lanes.hand_over(false), HandOver::Blocked);
        drop(first);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
    }

    #[test]
    fn the_more_is_worked_on_the_less_may_wait() {
        let (mut lanes, mut receivers) = lanes(4, A_MINUTE);
        let (mut even, mut odd) = (Log::new("a", 0), Log::new("a", 1));
        even.push_some(&mut lanes, 2);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        let first = receivers[0].try_recv().unwrap();
        even.push_some(&mut lanes, 3);
        drop(first);
        // Three are worked on, and so more than five must not wait.
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        odd.push_some(&mut lanes, 2);
        // Five are worked on, and so more than one must not wait.
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        even.push_some(&mut lanes, 1);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        odd.push_some(&mut lanes, 1);
        assert_eq!(lanes.hand_over(false), HandOver::Blocked);
        drop(receivers[1].try_recv().unwrap());
        assert_eq!(lanes.hand_over(false), HandOver::Done);
    }

    #[test]
    fn a_batch_goes_when_it_is_old_enough_and_grows_while_another_is_worked_on() {
        let (mut lanes, mut receivers) = lanes(100, Duration::ZERO);
        let mut log = Log::new("a", 1);
        log.push(&mut lanes);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        let first = receivers[1].try_recv().unwrap();
        for _ in 0..3 {
            log.push(&mut lanes);
            assert_eq!(lanes.hand_over(false), HandOver::Done);
        }
        assert!(receivers[1].try_recv().is_err());
        assert!(!lanes.is_nothing_in_flight());
        drop(first);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        assert_eq!(receivers[1].try_recv().unwrap().items.len(), 3);
        assert!(lanes.is_nothing_in_flight() && lanes.is_empty());
    }

    #[test]
    fn with_nobody_to_take_a_batch_the_lanes_are_closed() {
        let (mut lanes, receivers) = lanes(100, A_MINUTE);
        Log::new("a", 0).push(&mut lanes);
        drop(receivers);
        assert_eq!(lanes.hand_over(true), HandOver::Closed);
    }
}
