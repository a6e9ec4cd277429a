//! The queues of the partitions that are read, and whose turn it is.
//!
//! The partition goes first whose records are oldest. So a backlog is read in the order of time, however unequal its
//! topics are, and a session's events come close together: its row is written a few times instead of once a batch. That
//! is for speed alone; any order gives the same sessions.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, base_consumer::PartitionQueue},
    error::KafkaResult,
    message::BorrowedMessage,
};

use crate::{event::RecordTimestamp, record::TopicPartition};

use super::rebalance::Callbacks;

/// Every so many turns, the partition goes first that has waited longest. So what is new gets through while a month of
/// old records is read, at a rate that costs the old ones little.
const SHARE: u64 = 32;
/// A partition whose records wait goes first after so long, in whatever time they lie. Nothing must look as if it stood
/// still.
const MOST_WAIT: Duration = Duration::from_millis(500);

/// A queue for each partition that is read.
#[derive(Default)]
pub(super) struct Queues {
    queues: HashMap<TopicPartition, Queue>,
    /// How many turns there have been.
    turns: u64,
}

/// What librdkafka has fetched of one partition.
pub(super) struct Queue {
    messages: PartitionQueue<Callbacks>,
    /// False where nothing waits. librdkafka's threads set it, and the polling thread clears it.
    waiting: Arc<AtomicBool>,
    place: Place,
}

/// By which turns are given.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The time of the record that was read last. None, which comes before all others, where none was.
    read_to: Option<RecordTimestamp>,
    last_turn: Instant,
}

impl Queues {
    /// Keeps a partition's messages apart from the others'. From before it is assigned, else its first ones come with
    /// all others'. `reader` is woken when there are some.
    pub(super) fn open(
        &mut self,
        consumer: &Arc<BaseConsumer<Callbacks>>,
        partition: &TopicPartition,
        reader: &Thread,
    ) {
        // One that is dropped later would take its successor's callback away.
        self.close(partition);
        let Some(mut messages) = consumer.split_partition_queue(&partition.topic, partition.partition) else {
            // They come with all others', then.
            tracing::debug!(%partition, "librdkafka has no queue for it");
            return;
        };
        // There may be some already.
        let waiting = Arc::new(AtomicBool::new(true));
        let (arrived, reader) = (Arc::clone(&waiting), reader.clone());
        messages.set_nonempty_callback(move || {
            arrived.store(true, Ordering::Release);
            reader.unpark();
        });
        let place = Place { read_to: None, last_turn: Instant::now() };
        self.queues.insert(partition.clone(), Queue { messages, waiting, place });
    }

    /// After the partition was given up.
    pub(super) fn close(&mut self, partition: &TopicPartition) {
        if let Some(queue) = self.queues.remove(partition) {
            // What it still holds is void, and librdkafka lets go of it when it is asked for the next message.
            let _ = queue.take();
        }
    }

    /// Whether messages of it may have been fetched that nobody has taken.
    pub(super) fn is_waiting(&self, partition: &TopicPartition) -> bool {
        self.queues.get(partition).is_some_and(Queue::is_waiting)
    }

    /// Asks all of them at their next turns, as if something had come.
    pub(super) fn ask_all(&self) {
        self.queues.values().for_each(|queue| queue.waiting.store(true, Ordering::Release));
    }

    /// The one whose turn it is; none where nothing waits.
    pub(super) fn next(&mut self) -> Option<(&TopicPartition, &mut Queue)> {
        self.turns += 1;
        let waiting = self.queues.iter_mut().filter(|(_, queue)| queue.is_waiting());
        let places = waiting.map(|(partition, queue)| (queue.place, (partition, queue)));
        whose_turn(places, self.turns.is_multiple_of(SHARE), Instant::now())
    }
}

impl Queue {
    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// The next message, if there is one.
    pub(super) fn take(&self) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        // It is cleared first, so that what comes during the question sets it again.
        self.waiting.store(false, Ordering::Release);
        let message = self.messages.poll(Duration::ZERO);
        if message.is_some() {
            self.waiting.store(true, Ordering::Release);
        }
        message
    }

    /// Lets the others go first until something comes.
    pub(super) fn pass_over(&self) {
        self.waiting.store(false, Ordering::Release);
    }

    /// Ends its turn. `read_to` is the time of the last record.
    pub(super) fn end_turn(&mut self, read_to: Option<RecordTimestamp>) {
        self.place = Place { read_to, last_turn: Instant::now() };
    }
}

fn whose_turn<T>(waiting: impl Iterator<Item = (Place, T)>, is_share: bool, now: Instant) -> Option<T> {
    let first_of = |place: &Place| {
        let waited = now.saturating_duration_since(place.last_turn) >= MOST_WAIT;
        let by_time = !is_share && !waited;
        (by_time, by_time.then_some(place.read_to), place.last_turn)
    };
    waiting.min_by_key(|(place, _)| first_of(place)).map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose turn it is of partitions that were read up to these times, and had their last turns so long ago.
    fn turn_of(places: &[(&'static str, Option<i64>, u64)], is_share: bool) -> Option<&'static str> {
        let now = Instant::now();
        let place = |read_to: Option<i64>, waited| Place {
            read_to: read_to.and_then(RecordTimestamp::from_millis),
            last_turn: now.checked_sub(Duration::from_millis(waited)).unwrap(),
        };
        whose_turn(places.iter().map(|&(name, read_to, waited)| (place(read_to, waited), name)), is_share, now)
    }

    #[test]
    fn who_is_furthest_behind_in_time_goes_first() {
        assert_eq!(turn_of(&[("noon", Some(12), 3), ("dawn", Some(6), 1), ("dusk", Some(18), 9)], false), Some("dawn"));
        assert_eq!(turn_of(&[], false), None);
    }

    #[test]
    fn of_two_that_are_equally_far_the_one_goes_first_whose_last_turn_is_longer_ago() {
        assert_eq!(turn_of(&[("late", Some(6), 1), ("early", Some(6), 2)], false), Some("early"));
    }

    #[test]
    fn who_has_not_been_read_yet_goes_first_so_that_its_time_is_known() {
        assert_eq!(turn_of(&[("dawn", Some(6), 5), ("new", None, 0)], false), Some("new"));
    }

    #[test]
    fn a_share_of_the_turns_goes_by_the_wait_alone() {
        assert_eq!(turn_of(&[("dawn", Some(6), 1), ("dusk", Some(18), 9)], true), Some("dusk"));
    }

    #[test]
    fn who_has_waited_long_goes_first_whatever_its_time() {
        let most = u64::try_from(MOST_WAIT.as_millis()).unwrap();
        assert_eq!(turn_of(&[("dawn", Some(6), 1), ("dusk", Some(18), most - 1)], false), Some("dawn"));
        assert_eq!(turn_of(&[("dawn", Some(6), 1), ("dusk", Some(18), most)], false), Some("dusk"));
        assert_eq!(turn_of(&[("noon", Some(12), 2 * most), ("dawn", Some(6), most)], false), Some("noon"));
    }
}
