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

use chrono::{DateTime, TimeDelta, Utc};
use rdkafka::{
    consumer::{BaseConsumer, base_consumer::PartitionQueue},
    error::{KafkaError, KafkaResult},
    message::BorrowedMessage,
};

use crate::{event::RecordTimestamp, record::TopicPartition};

use super::{
    patience::{Behind, Supply},
    rebalance::Callbacks,
};

/// The most records of a turn.
const LONG_TURN: usize = 64;
/// A turn by time ends after as many, once another partition is further behind: a small topic's record lies far from the
/// one before. With many partitions it is longer, since each turn looks at all of them.
const SHORT_TURN: usize = 8;
/// How many partitions may be looked at for each record.
const LOOKS: usize = 3;
/// Every so many records, one turn goes to a partition that was passed over. So what is new gets through while a month of
/// old records is read, at a rate that costs the old ones little.
const SHARE: u64 = 2_048;
/// One is passed over after so many records for each partition of which records wait. In a backlog whose partitions lie in
/// one time, that hardly ever happens: a turn of a small topic by the share alone would run hours ahead of the others.
const PASSED_OVER: u64 = 1_024;
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
    /// How many there were when one that was passed over last had a turn.
    shared_at: u64,
}

/// What librdkafka has fetched of one partition.
pub(super) struct Queue {
    messages: PartitionQueue<Callbacks>,
    /// False where nothing waits. librdkafka's threads set it, and the polling thread clears it.
    waiting: Arc<AtomicBool>,
    supply: Supply,
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
    by: By,
    /// The least records of a turn by time, and the most of one whose time is unknown.
    short: usize,
    taken: usize,
    behind: Behind,
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
        self.queues.insert(partition.clone(), Queue { messages, waiting, supply: Supply::default(), place });
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

    /// Whether everything was taken of it that there was when its broker was asked last.
    pub(super) fn is_at_end(&self, partition: &TopicPartition) -> bool {
        self.queues.get(partition).is_some_and(|queue| queue.supply.is_at_end() && !queue.is_waiting())
    }

    /// After reading was told to go on somewhere else.
    pub(super) fn moved(&mut self, partition: &TopicPartition) {
        if let Some(queue) = self.queues.get_mut(partition) {
            queue.supply.moved();
        }
    }

    /// Nobody is to wait for it: it isn't fetched any more.
    pub(super) fn finished(&mut self, partition: &TopicPartition) {
        if let Some(queue) = self.queues.get_mut(partition) {
            queue.supply.finished();
        }
    }

    /// Asks all of them at their next turns, as if something had come.
    pub(super) fn ask_all(&self) {
        self.queues.values().for_each(|queue| queue.waiting.store(true, Ordering::Release));
    }

    /// The one whose turn it is; none where nothing waits, or what waits has to let another one go first that is still
    /// being fetched. `is_busy` says that the pipeline has enough to do.
    pub(super) fn next(&mut self, is_busy: bool) -> Option<Turn<'_>> {
        let now = Instant::now();
        let held = self.held(is_busy, now);
        let short = (self.queues.len() / LOOKS).clamp(SHORT_TURN, LONG_TURN);
        let passed_over = self.passed_over();
        let waiting = self.queues.iter_mut().filter(|(_, queue)| queue.is_waiting());
        let places = waiting.map(|(partition, queue)| (partition.partition, queue.place, (partition, queue)));
        let ((partition, queue), by) = whose_turn(places, held.as_ref(), passed_over, now)?;
        if by == By::Share {
            self.shared_at = self.taken;
        }
        Some(Turn { partition, queue, by, short, taken: 0, behind: Behind::Perhaps, taken_of_all: &mut self.taken })
    }

    /// If a turn may go to one that was passed over: by its last turn, when there were as many records or fewer.
    fn passed_over(&self) -> Option<u64> {
        if self.taken < self.shared_at + SHARE {
            return None;
        }
        passed_over(self.taken, self.queues.values().filter(|queue| queue.is_waiting()).count())
    }

    /// What has to wait for partitions of which something should come soon; none where there is no such partition.
    fn held(&self, is_busy: bool, now: Instant) -> Option<Held> {
        let is_expected = |(_, queue): &(&TopicPartition, &Queue)| {
            // Without timestamps nobody knows whether it is behind.
            let is_comparable = queue.place.read_to.is_some() || !queue.supply.has_begun();
            is_comparable && !queue.is_waiting() && queue.supply.is_expected(is_busy, now)
        };
        let expected = self.queues.iter().filter(is_expected);
        let behind: Vec<_> = expected.map(|(partition, queue)| (partition.partition, queue.place.read_to)).collect();
        (!behind.is_empty()).then(|| Held { behind, until: Utc::now() - BACKLOG })
    }
}

/// Which records have to wait for a partition that is being fetched: those of a backlog that are later than its own, in
/// partitions of the same number. A session lies in partitions of one number, as their producers key by it, so that those
/// of other numbers needn't wait.
#[derive(Clone, Debug)]
struct Held {
    /// The numbers of partitions that are being fetched, and how far each has been read.
    behind: Vec<(i32, Option<RecordTimestamp>)>,
    until: DateTime<Utc>,
}

impl Held {
    fn holds(&self, number: i32, place: &Place) -> bool {
        let is_in_backlog = || place.read_to.and_then(RecordTimestamp::as_utc).is_some_and(|at| at < self.until);
        let is_ahead = |(behind, read_to): &(i32, _)| *behind == number && place.read_to > *read_to;
        self.behind.iter().any(is_ahead) && is_in_backlog()
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
        if self.by.is_over(self.taken, self.short, read_to) {
            return None;
        }
        let mut without_message = Behind::Nothing;
        let message = loop {
            match self.queue.take() {
                Some(Err(KafkaError::PartitionEOF(_))) => without_message = Behind::EndOfLog,
                message => break message,
            }
        };
        self.behind = if message.is_some() { Behind::Perhaps } else { without_message };
        self.taken += usize::from(message.is_some());
        message
    }

    /// Lets the others go first until something comes.
    pub(super) fn pass_over(self) {
        self.queue.waiting.store(false, Ordering::Release);
    }

    /// `read_to` is the time of the last record.
    pub(super) fn end(self, read_to: Option<RecordTimestamp>) {
        let now = Instant::now();
        self.queue.supply.took(self.taken, self.behind, now);
        if self.taken > 0 {
            *self.taken_of_all += self.taken as u64;
            self.queue.place = Place { read_to, last_turn: now, taken_then: *self.taken_of_all };
        }
    }
}

/// Why a partition has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Nobody knows how far behind it is.
    Unknown,
    /// It is furthest behind. Also how far the next one has been read, if there is one.
    Time(Option<RecordTimestamp>),
    /// The others have passed it over.
    Share,
    /// It has waited for long.
    Wait,
}

impl By {
    fn is_over(self, taken: usize, short: usize, read_to: Option<RecordTimestamp>) -> bool {
        let most = match self {
            By::Unknown => short,
            By::Time(Some(next)) if read_to > Some(next) => short,
            By::Time(_) | By::Share | By::Wait => LONG_TURN,
        };
        taken >= most
    }
}

/// Who had its last turn when there were as many records or fewer is passed over; none is so early.
fn passed_over(taken: u64, waiting: usize) -> Option<u64> {
    taken.checked_sub(PASSED_OVER * waiting as u64)
}

/// Whose turn it is, and why, of these partitions by their numbers. With `passed_over`, it may be one that is.
fn whose_turn<T>(
    waiting: impl Iterator<Item = (i32, Place, T)>,
    held: Option<&Held>,
    passed_over: Option<u64>,
    now: Instant,
) -> Option<(T, By)> {
    let why = |place: &Place| {
        if now.saturating_duration_since(place.last_turn) >= MOST_WAIT {
            By::Wait
        } else if passed_over.is_some_and(|then| place.taken_then <= then) {
            By::Share
        } else if place.read_to.is_none() {
            By::Unknown
        } else {
            By::Time(None)
        }
    };
    let mut first: Option<(_, _, (T, By))> = None;
    let mut next: Option<RecordTimestamp> = None;
    for (number, place, one) in waiting {
        let by = why(&place);
        let by_time = matches!(by, By::Time(_) | By::Unknown);
        if by_time && held.is_some_and(|held| held.holds(number, &place)) {
            continue;
        }
        let key = (by_time, by_time.then_some(place.read_to), place.last_turn);
        let mut other = (key, place.read_to, (one, by));
        match &mut first {
            None => {
                first = Some(other);
                continue;
            }
            Some(first) if other.0 < first.0 => std::mem::swap(first, &mut other),
            Some(_) => {}
        }
        next = [next, other.1].into_iter().flatten().min();
    }
    first.map(|(_, _, (one, by))| (one, if by == By::Time(None) { By::Time(next) } else { by }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many records of others pass one over.
    const MANY: u64 = 1 << 20;

    /// How far a partition was read, how long ago its last turn was, and how many records of others ago.
    struct Stood(&'static str, Option<i64>, u64, u64);

    fn time(millis: i64) -> Option<RecordTimestamp> {
        RecordTimestamp::from_millis(millis)
    }

    /// Whose turn it is, and why, of partitions of one number.
    fn turn_of(stood: &[Stood], held: Option<&Held>, is_share: bool) -> Option<(&'static str, By)> {
        turn_of_numbers(&stood.iter().map(|stood| (NUMBER, stood)).collect::<Vec<_>>(), held, is_share)
    }

    fn turn_of_numbers(stood: &[(i32, &Stood)], held: Option<&Held>, is_share: bool) -> Option<(&'static str, By)> {
        const TAKEN: u64 = 2 * MANY;
        let now = Instant::now();
        let place = |&(number, &Stood(name, read_to, waited, others))| {
            let last_turn = now.checked_sub(Duration::from_millis(waited)).unwrap();
            (number, Place { read_to: read_to.and_then(time), last_turn, taken_then: TAKEN - others }, name)
        };
        whose_turn(stood.iter().map(place), held, is_share.then_some(TAKEN - MANY), now)
    }

    const NUMBER: i32 = 7;

    /// For a partition of [`NUMBER`] that is being fetched and has been read to this time.
    fn held_behind(read_to: Option<i64>, until: TimeDelta) -> Held {
        Held { behind: vec![(NUMBER, read_to.and_then(time))], until: DateTime::UNIX_EPOCH + until }
    }

    fn by_time(next: i64) -> By {
        By::Time(time(next))
    }

    #[test]
    fn who_is_furthest_behind_in_time_goes_first_until_it_has_passed_the_next() {
        let stood = [Stood("noon", Some(12), 3, 0), Stood("dawn", Some(6), 1, 0), Stood("dusk", Some(18), 9, 0)];
        assert_eq!(turn_of(&stood, None, false), Some(("dawn", by_time(12))));
        assert_eq!(turn_of(&stood[2..], None, false), Some(("dusk", By::Time(None))));
        assert_eq!(turn_of(&[], None, false), None);
    }

    #[test]
    fn a_turn_by_time_has_a_few_records_and_more_while_nobody_else_is_further_behind() {
        let is_over = |by: By, taken, read_to| by.is_over(taken, SHORT_TURN, time(read_to));
        assert!(!is_over(by_time(12), SHORT_TURN - 1, 13));
        assert!(is_over(by_time(12), SHORT_TURN, 13));
        assert!(!is_over(by_time(12), LONG_TURN - 1, 12));
        assert!(is_over(by_time(12), LONG_TURN, 12));
        assert!(!is_over(By::Unknown, SHORT_TURN - 1, 13));
        assert!(is_over(By::Unknown, SHORT_TURN, 13));
        for by in [By::Time(None), By::Share, By::Wait] {
            assert!(!is_over(by, LONG_TURN - 1, 13));
            assert!(is_over(by, LONG_TURN, 13));
        }
    }

    #[test]
    fn of_two_that_are_equally_far_the_one_goes_first_whose_last_turn_is_longer_ago() {
        let stood = [Stood("late", Some(6), 1, 0), Stood("early", Some(6), 2, 0)];
        assert_eq!(turn_of(&stood, None, false), Some(("early", by_time(6))));
    }

    #[test]
    fn who_has_not_been_read_yet_goes_first_so_that_its_time_is_known() {
        let stood = [Stood("dawn", Some(6), 5, 0), Stood("new", None, 0, 0)];
        assert_eq!(turn_of(&stood, None, false), Some(("new", By::Unknown)));
    }

    #[test]
    fn a_share_of_the_turns_goes_to_who_was_passed_over() {
        let stood = |others| [Stood("dawn", Some(6), 1, 0), Stood("dusk", Some(18), 9, others)];
        assert_eq!(turn_of(&stood(MANY), None, true), Some(("dusk", By::Share)));
        assert_eq!(turn_of(&stood(MANY), None, false), Some(("dawn", by_time(18))));
        assert_eq!(turn_of(&stood(MANY - 1), None, true), Some(("dawn", by_time(18))));
    }

    #[test]
    fn one_is_passed_over_after_so_many_records_for_each_partition_that_waits() {
        assert_eq!(passed_over(10 * PASSED_OVER, 3), Some(7 * PASSED_OVER));
        assert_eq!(passed_over(10 * PASSED_OVER, 10), Some(0));
        assert_eq!(passed_over(10 * PASSED_OVER, 11), None);
    }

    #[test]
    fn who_has_waited_long_goes_first_whatever_its_time() {
        let most = u64::try_from(MOST_WAIT.as_millis()).unwrap();
        let stood = |waited| [Stood("dawn", Some(6), 1, 0), Stood("dusk", Some(18), waited, 0)];
        assert_eq!(turn_of(&stood(most - 1), None, false), Some(("dawn", by_time(18))));
        assert_eq!(turn_of(&stood(most), None, false), Some(("dusk", By::Wait)));
        let both = [Stood("noon", Some(12), 2 * most, 0), Stood("dawn", Some(6), most, 0)];
        assert_eq!(turn_of(&both, None, false), Some(("noon", By::Wait)));
    }

    #[test]
    fn what_is_later_than_a_partition_that_is_being_fetched_waits_for_it() {
        let stood = [Stood("dusk", Some(18), 1, 0), Stood("noon", Some(12), 3, 0)];
        let held = |read_to| held_behind(read_to, TimeDelta::hours(1));
        assert_eq!(turn_of(&stood, Some(&held(Some(6))), false), None);
        assert_eq!(turn_of(&stood, Some(&held(None)), false), None, "nothing has come of it yet");
        assert_eq!(turn_of(&stood, Some(&held(Some(12))), false), Some(("noon", By::Time(None))));
        assert_eq!(turn_of(&stood, Some(&held(Some(18))), false), Some(("noon", by_time(18))));
    }

    #[test]
    fn partitions_of_other_numbers_do_not_wait_for_it() {
        let held = held_behind(Some(6), TimeDelta::hours(1));
        let (noon, dusk) = (Stood("noon", Some(12), 3, 0), Stood("dusk", Some(18), 1, 0));
        let stood = [(NUMBER, &noon), (NUMBER + 1, &dusk)];
        assert_eq!(turn_of_numbers(&stood, Some(&held), false), Some(("dusk", By::Time(None))));
        assert_eq!(turn_of_numbers(&stood, None, false), Some(("noon", by_time(18))));
    }

    #[test]
    fn who_is_no_backlog_or_has_waited_long_or_was_passed_over_waits_for_nobody() {
        let most = u64::try_from(MOST_WAIT.as_millis()).unwrap();
        let held = held_behind(Some(6), TimeDelta::milliseconds(15));
        let held = Some(&held);
        let with = |other| [Stood("noon", Some(12), 3, 0), other];
        let young = with(Stood("young", Some(18), 1, 0));
        assert_eq!(turn_of(&young, held, false), Some(("young", By::Time(None))));
        assert_eq!(turn_of(&with(Stood("patient", Some(12), most, 0)), held, false), Some(("patient", By::Wait)));
        let passed_over = with(Stood("passed over", Some(12), 1, MANY));
        assert_eq!(turn_of(&passed_over, held, true), Some(("passed over", By::Share)));
        let without_time = with(Stood("without time", None, 1, 0));
        assert_eq!(turn_of(&without_time, held, false), Some(("without time", By::Unknown)));
    }
}
