//! Lanes: batches that are worked on side by side, so that one is folded while Postgres writes another.
//!
//! A partition number belongs to one lane, whatever the topic. Producers key by session, so a session's events come in
//! partitions of one number, and two lanes write different sessions. Where a producer does otherwise, the versions of
//! the sessions decide, as between two instances.

use std::{num::NonZeroUsize, time::Duration};

use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

use super::{
    batch::{Batch, BatchBuilder, BatchLimits, InFlightCount},
    lease::Lease,
};

/// The batches of all lanes that are being filled.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Lane>);

#[derive(Debug)]
struct Lane {
    builder: BatchBuilder,
    /// None once reading has ended.
    batches: Option<Sender<Batch>>,
    in_flight: InFlightCount,
}

/// Whether there was room for the batches that had to go.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandOver {
    Done,
    /// A full batch must wait.
    Blocked,
    /// The pipeline is gone; nobody will commit what was read.
    Closed,
}

impl Lanes {
    /// The lanes share the limits, so that their number changes nothing about the memory, nor how often a session's row
    /// is written.
    pub(super) fn open(limits: BatchLimits, lanes: NonZeroUsize) -> (Self, Vec<Receiver<Batch>>) {
        let limits = BatchLimits {
            max_events: limits.max_events.div_ceil(lanes.get()),
            max_bytes: limits.max_bytes.div_ceil(lanes.get()),
            ..limits
        };
        // In each lane one batch is worked on, and one is being filled. That bounds the memory.
        let channels = (0..lanes.get()).map(|_| mpsc::channel(1));
        let open = |(sender, receiver)| {
            let builder = BatchBuilder::new(limits);
            (Lane { builder, batches: Some(sender), in_flight: InFlightCount::default() }, receiver)
        };
        let (lanes, receivers) = channels.map(open).unzip();
        (Self(lanes), receivers)
    }

    /// The batch that takes the records of this lease.
    pub(super) fn batch_of(&mut self, lease: &Lease) -> &mut BatchBuilder {
        let number = usize::try_from(lease.partition().partition).unwrap_or(0);
        let lane = number % self.0.len();
        &mut self.0[lane].builder
    }

    /// Records that were read and not handed over yet.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|lane| lane.builder.len()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|lane| lane.builder.is_empty())
    }

    /// Whether a lane can take no more records.
    pub(super) fn is_full(&self) -> bool {
        self.0.iter().any(|lane| lane.builder.is_full())
    }

    /// What the pipeline said before it dropped the last batch can be heard once this is true.
    pub(super) fn is_nothing_in_flight(&self) -> bool {
        self.0.iter().all(|lane| lane.in_flight.is_zero())
    }

    /// How long until a batch may have to go; none where there is none.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.0.iter().filter_map(|lane| lane.builder.time_left()).min()
    }

    /// Hands over each batch that is full, or old enough; with `last`, all.
    pub(super) fn hand_over(&mut self, last: bool) -> HandOver {
        let mut result = HandOver::Done;
        for lane in &mut self.0 {
            match lane.hand_over(last) {
                HandOver::Done => {}
                HandOver::Blocked => result = HandOver::Blocked,
                HandOver::Closed => return HandOver::Closed,
            }
        }
        result
    }

    /// Takes out the records of leases that ended; returns how many.
    pub(super) fn discard(&mut self, ended: impl Fn(&Lease) -> bool) -> u64 {
        self.0.iter_mut().map(|lane| lane.builder.discard(&ended)).sum()
    }

    /// Tells the pipeline that no batch comes any more.
    pub(super) fn close(&mut self) {
        self.0.iter_mut().for_each(|lane| lane.batches = None);
    }
}

impl Lane {
    /// A batch goes only when the one before is done, so it is as large as what came meanwhile: small where there is
    /// little to do, and full under a backlog.
    fn hand_over(&mut self, last: bool) -> HandOver {
        let full = self.builder.is_full();
        if self.builder.is_empty() || !(full || last || self.builder.is_due()) {
            return HandOver::Done;
        }
        if !self.in_flight.is_zero() {
            return if full { HandOver::Blocked } else { HandOver::Done };
        }
        let Some(batches) = &self.batches else { return HandOver::Done };
        match batches.try_reserve().map(|room| room.send(self.builder.take(&self.in_flight))) {
            Ok(()) => HandOver::Done,
            Err(TrySendError::Closed(())) => HandOver::Closed,
            // Nothing is in flight, so nothing can be in the channel.
            Err(TrySendError::Full(())) => HandOver::Blocked,
        }
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
        Lanes::open(limits, NonZeroUsize::new(2).unwrap())
    }

    /// Records of this partition, in order.
    struct Log(Lease, i64);

    impl Log {
        fn new(topic: &str, number: i32) -> Self {
            Self(Leases::default().grant([TopicPartition::new(topic, number)]).remove(0), 0)
        }

        fn push(&mut self, lanes: &mut Lanes) {
            let position = NextOffset::new(self.1);
            let offset = RecordOffset::new(self.1);
            let item = |slice| Item { slice, offset, timestamp: None, bytes: 0, content: Content::Ignored };
            lanes.batch_of(&self.0).push(&self.0, position, item);
            self.1 += 1;
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
    fn a_full_batch_waits_until_the_one_before_is_dropped() {
        let (mut lanes, mut receivers) = lanes(4, A_MINUTE);
        let mut log = Log::new("a", 0);
        for _ in 0..2 {
            log.push(&mut lanes);
        }
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        let first = receivers[0].try_recv().unwrap();
        assert_eq!(first.items.len(), 2);
        log.push(&mut lanes);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        log.push(&mut lanes);
        assert_eq!(lanes.hand_over(false), HandOver::Blocked);
        assert!(receivers[0].try_recv().is_err());
        drop(first);
        assert_eq!(lanes.hand_over(false), HandOver::Done);
        assert_eq!(receivers[0].try_recv().unwrap().items.len(), 2);
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
