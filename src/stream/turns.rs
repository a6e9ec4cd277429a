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

use chrono::{TimeDelta, Utc};
use rdkafka::{
    consumer::{BaseConsumer, base_consumer::PartitionQueue},
    error::KafkaResult,
    message::BorrowedMessage,
};

use crate::{event::RecordTimestamp, record::TopicPartition};

use super::rebalance::Callbacks;

/// The most records of a turn.
const LONG_TURN: usize = 64;
/// A turn by time ends after as many, once another partition is further behind: a small topic's record lies far from the
/// one before.
const SHORT_TURN: usize = 8;
/// Every so many records, one turn goes by the wait. So what is new gets through while a month of old records is read,
/// at a rate that costs the old ones little.
const SHARE: u64 = 2_048;
/// In a backlog whose partitions lie in one time, none is passed over for so many records.
const PASSED_OVER: u64 = 4_096;
/// A partition that is behind the others and of which nothing waits is fetched: the others wait for it for so long, where
/// the pipeline has enough to do meanwhile. Else they would run hours ahead of it within a few milliseconds.
const PATIENCE: Duration = Duration::from_millis(20);
/// The same for one of which nothing has come yet, whatever the pipeline has to do.
const PATIENCE_AT_FIRST: Duration = Duration::from_millis(100);
/// Records that are younger are no backlog, and wait for nobody.
const BACKLOG: TimeDelta = TimeDelta::minutes(1);
/// A partition whose records wait goes first after so long, in whatever time they lie. Nothing must look as if it stood
/// still.
const MOST_WAIT: Duration = Duration::from_millis(500);

/// A queue for each partition that is read.
#[derive(Default)]
pub(super) struct Queues {
    queues: HashMap<TopicPartition, Queue>,
    /// How many records were taken of all of them.
    taken: u64,
    /// How many there were when a turn last went by the wait.
    shared_at: u64,
}

/// What librdkafka has fetched of one partition.
pub(super) struct Queue {
    messages: PartitionQueue<Callbacks>,
    /// False where nothing waits. librdkafka's threads set it, and the polling thread clears it.
    waiting: Arc<AtomicBool>,
    /// Since when nothing waits, where that is so.
    empty_since: Option<Instant>,
    place: Place,
}

/// By which turns are given.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The time of the record that was read last. None, which comes before all others, where none was.
    read_to: Option<RecordTimestamp>,
    last_turn: Instant,
    /// How many records of all partitions there were then.
    taken_then: u64,
}

/// One partition's turn to be read.
#[must_use]
pub(super) struct Turn<'q> {
    pub(super) partition: &'q TopicPartition,
    queue: &'q mut Queue,
    /// How far the next one has been read, where the turn goes by time.
    until: Option<RecordTimestamp>,
    taken: usize,
    /// All that was fetched of it was taken.
    found_end: bool,
    taken_of_all: &'q mut u64,
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
        let place = Place { read_to: None, last_turn: Instant::now(), taken_then: self.taken };
        self.queues.insert(partition.clone(), Queue { messages, waiting, empty_since: None, place });
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

    /// The one whose turn it is; none where nothing waits, or what waits has to let another one go first that is still
    /// being fetched. `is_busy` says that the pipeline has enough to do.
    pub(super) fn next(&mut self, is_busy: bool) -> Option<Turn<'_>> {
        let now = Instant::now();
        let oldest_expected = self.oldest_expected(now, is_busy);
        let waiting = self.queues.iter_mut().filter(|(_, queue)| queue.is_waiting());
        let places = waiting.map(|(partition, queue)| (queue.place, (partition, queue)));
        let shared_at = (self.taken >= self.shared_at + SHARE).then_some(self.taken);
        let chosen = whose_turn(places, shared_at, now)?;
        let (partition, queue) = chosen.one;
        if !chosen.by_time {
            self.shared_at = self.taken;
        } else if oldest_expected.is_some_and(|oldest| oldest < queue.place.read_to) && queue.place.is_in_backlog() {
            return None;
        }
        Some(Turn { partition, queue, until: chosen.until, taken: 0, found_end: false, taken_of_all: &mut self.taken })
    }

    /// How far the one has been read that is furthest behind of those of which something should come soon.
    fn oldest_expected(&self, now: Instant, is_busy: bool) -> Option<Option<RecordTimestamp>> {
        let is_expected = |queue: &&Queue| {
            let patience = match queue.place.read_to {
                None => PATIENCE_AT_FIRST,
                Some(_) if is_busy => PATIENCE,
                Some(_) => return false,
            };
            let for_long = |since: Instant| now.saturating_duration_since(since) >= patience;
            !queue.is_waiting() && queue.empty_since.is_some_and(|since| !for_long(since))
        };
        self.queues.values().filter(is_expected).map(|queue| queue.place.read_to).min()
    }
}

impl Place {
    fn is_in_backlog(&self) -> bool {
        self.read_to.and_then(RecordTimestamp::as_utc).is_some_and(|read_to| Utc::now() - read_to > BACKLOG)
    }
}

impl Queue {
    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// The next message, if there is one.
    fn take(&self) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        // It is cleared first, so that what comes during the question sets it again.
        self.waiting.store(false, Ordering::Release);
        let message = self.messages.poll(Duration::ZERO);
        if message.is_some() {
            self.waiting.store(true, Ordering::Release);
        }
        message
    }
}

impl Turn<'_> {
    /// The next message, if there is one and the turn isn't over. `read_to` is the time of the last record before.
    pub(super) fn take(&mut self, read_to: Option<RecordTimestamp>) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        if is_over(self.taken, read_to, self.until) {
            return None;
        }
        let message = self.queue.take();
        self.taken += usize::from(message.is_some());
        self.found_end = message.is_none();
        message
    }

    /// Lets the others go first until something comes.
    pub(super) fn pass_over(self) {
        self.queue.waiting.store(false, Ordering::Release);
    }

    /// `read_to` is the time of the last record.
    pub(super) fn end(self, read_to: Option<RecordTimestamp>) {
        let now = Instant::now();
        self.queue.empty_since = self.found_end.then_some(now);
        if self.taken > 0 {
            *self.taken_of_all += self.taken as u64;
            self.queue.place = Place { read_to, last_turn: now, taken_then: *self.taken_of_all };
        }
    }
}

fn is_over(taken: usize, read_to: Option<RecordTimestamp>, until: Option<RecordTimestamp>) -> bool {
    taken >= LONG_TURN || (taken >= SHORT_TURN && until.is_some_and(|until| read_to > Some(until)))
}

struct Chosen<T> {
    one: T,
    by_time: bool,
    /// How far the one that follows by time has been read.
    until: Option<RecordTimestamp>,
}

/// With `shared_at`, the number of records so far, a turn may go to one that was passed over.
fn whose_turn<T>(waiting: impl Iterator<Item = (Place, T)>, shared_at: Option<u64>, now: Instant) -> Option<Chosen<T>> {
    let is_by_time = |place: &Place| {
        let passed_over = shared_at.is_some_and(|taken| taken >= place.taken_then + PASSED_OVER);
        let waited = now.saturating_duration_since(place.last_turn) >= MOST_WAIT;
        !passed_over && !waited
    };
    let mut first: Option<(_, T)> = None;
    let mut until = None;
    for (place, one) in waiting {
        let by_time = is_by_time(&place);
        let mut candidate = ((by_time, by_time.then_some(place.read_to), place.last_turn), one);
        if let Some(first) = &mut first {
            if candidate.0 < first.0 {
                std::mem::swap(first, &mut candidate);
            }
            let (_, read_to, _) = candidate.0;
            until = [until, read_to.flatten()].into_iter().flatten().min();
        } else {
            first = Some(candidate);
        }
    }
    first.map(|((by_time, _, _), one)| Chosen { one, by_time, until: until.filter(|_| by_time) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far a partition was read, how long ago its last turn was, and how many records of others ago.
    struct Stood(&'static str, Option<i64>, u64, u64);

    fn time(millis: i64) -> Option<RecordTimestamp> {
        RecordTimestamp::from_millis(millis)
    }

    /// Whose turn it is, and until when.
    fn turn_of(stood: &[Stood], is_share: bool) -> Option<(&'static str, Option<RecordTimestamp>)> {
        const TAKEN: u64 = 1 << 20;
        let now = Instant::now();
        let place = |&Stood(name, read_to, waited, others)| {
            let last_turn = now.checked_sub(Duration::from_millis(waited)).unwrap();
            (Place { read_to: read_to.and_then(time), last_turn, taken_then: TAKEN - others }, name)
        };
        let chosen = whose_turn(stood.iter().map(place), is_share.then_some(TAKEN), now);
        chosen.map(|chosen| (chosen.one, chosen.until))
    }

    #[test]
    fn who_is_furthest_behind_in_time_goes_first_until_it_has_passed_the_next() {
        let stood = [Stood("noon", Some(12), 3, 0), Stood("dawn", Some(6), 1, 0), Stood("dusk", Some(18), 9, 0)];
        assert_eq!(turn_of(&stood, false), Some(("dawn", time(12))));
        assert_eq!(turn_of(&stood[2..], false), Some(("dusk", None)));
        assert_eq!(turn_of(&[], false), None);
    }

    #[test]
    fn a_turn_by_time_has_a_few_records_and_more_while_nobody_else_is_further_behind() {
        assert!(!is_over(SHORT_TURN - 1, time(13), time(12)));
        assert!(is_over(SHORT_TURN, time(13), time(12)));
        assert!(!is_over(LONG_TURN - 1, time(12), time(12)));
        assert!(!is_over(LONG_TURN - 1, time(13), None));
        assert!(is_over(LONG_TURN, time(12), time(12)));
    }

    #[test]
    fn of_two_that_are_equally_far_the_one_goes_first_whose_last_turn_is_longer_ago() {
        let stood = [Stood("late", Some(6), 1, 0), Stood("early", Some(6), 2, 0)];
        assert_eq!(turn_of(&stood, false), Some(("early", time(6))));
    }

    #[test]
    fn who_has_not_been_read_yet_goes_first_so_that_its_time_is_known() {
        let stood = [Stood("dawn", Some(6), 5, 0), Stood("new", None, 0, 0)];
        assert_eq!(turn_of(&stood, false), Some(("new", time(6))));
    }

    #[test]
    fn a_share_of_the_turns_goes_to_who_was_passed_over() {
        let stood = |others| [Stood("dawn", Some(6), 1, 0), Stood("dusk", Some(18), 9, others)];
        assert_eq!(turn_of(&stood(PASSED_OVER), true), Some(("dusk", None)));
        assert_eq!(turn_of(&stood(PASSED_OVER), false), Some(("dawn", time(18))));
        assert_eq!(turn_of(&stood(PASSED_OVER - 1), true), Some(("dawn", time(18))));
    }

    #[test]
    fn who_has_waited_long_goes_first_whatever_its_time() {
        let most = u64::try_from(MOST_WAIT.as_millis()).unwrap();
        let stood = |waited| [Stood("dawn", Some(6), 1, 0), Stood("dusk", Some(18), waited, 0)];
        assert_eq!(turn_of(&stood(most - 1), false), Some(("dawn", time(18))));
        assert_eq!(turn_of(&stood(most), false), Some(("dusk", None)));
        let both = [Stood("noon", Some(12), 2 * most, 0), Stood("dawn", Some(6), most, 0)];
        assert_eq!(turn_of(&both, false), Some(("noon", None)));
    }
}
