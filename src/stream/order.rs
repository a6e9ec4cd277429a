//! In which order the partitions are read that have records.
//!
//! The partition goes first whose records are oldest. So a backlog is read in the order of time, however unequal its
//! topics are, and a session's events come close together: its row is written a few times instead of once a batch. That
//! is for speed alone: the convergent aggregator makes the same sessions of any order.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::event::RecordTimestamp;

/// The most records of a turn.
const LONG_TURN: usize = 64;
/// A turn by time ends after as many, once another partition is further behind: a small topic's record lies far from the
/// one before. So does the first turn of a partition, since nobody knows how far behind it is. With many partitions it is
/// longer, since each turn looks at all of them.
const SHORT_TURN: usize = 8;
/// How many partitions may be looked at for each record.
const LOOKS: usize = 3;
/// Every so many records, one turn goes to a partition that was passed over. So what is new gets through while a month of
/// old records is read, at a rate that costs the old ones little.
pub(super) const SHARE: u64 = 2_048;
/// One is passed over after so many records for each partition of which records wait. In a backlog whose partitions lie in
/// one time, that hardly ever happens: a turn of a small topic by the share alone would run hours ahead of the others.
const PASSED_OVER: u64 = 1_024;
/// Records that are younger are no backlog, and wait for nobody.
const BACKLOG: TimeDelta = TimeDelta::minutes(1);
/// A partition whose records wait goes first after so long, in whatever time they lie. Nothing must look as if it stood
/// still.
const MOST_WAIT: Duration = Duration::from_millis(500);

/// By which turns are given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The time of the record that was read last. None, which comes before all others, where none was.
    pub(super) read_to: Option<RecordTimestamp>,
    pub(super) last_turn: Instant,
    /// How many records of all partitions there were then.
    pub(super) taken_then: u64,
}

/// The partitions that are being fetched. The records of a backlog wait for one that is behind them, in partitions of its
/// number: a session lies in partitions of one number, as their producers key by it.
#[derive(Debug)]
pub(super) struct Awaited {
    /// Of each number, how far the one has been read that is furthest behind.
    read_to: BTreeMap<i32, Option<RecordTimestamp>>,
    /// Earlier records are a backlog.
    backlog: DateTime<Utc>,
}

impl Awaited {
    /// Of these numbers, and how far each has been read.
    pub(super) fn of(partitions: impl Iterator<Item = (i32, Option<RecordTimestamp>)>) -> Option<Self> {
        let mut least = BTreeMap::new();
        for (number, read_to) in partitions {
            let least = least.entry(number).or_insert(read_to);
            *least = read_to.min(*least);
        }
        (!least.is_empty()).then(|| Self { read_to: least, backlog: Utc::now() - BACKLOG })
    }

    /// Whether a partition of this number has to wait.
    fn holds(&self, number: i32, place: &Place) -> bool {
        let is_in_backlog = || place.read_to.and_then(RecordTimestamp::as_utc).is_some_and(|at| at < self.backlog);
        self.read_to.get(&number).is_some_and(|behind| place.read_to > *behind) && is_in_backlog()
    }
}

/// How many records a short turn has where as many partitions are read.
pub(super) fn short_turn(partitions: usize) -> usize {
    (partitions / LOOKS).clamp(SHORT_TURN, LONG_TURN)
}

/// Why a partition has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Of those that needn't wait it is furthest behind. Also how far the next one of these has been read.
    Time(Option<RecordTimestamp>),
    /// The others have passed it over.
    Share,
    /// It has waited for long.
    Wait,
}

impl By {
    /// Whether a turn is over. `is_first` says that nothing of the partition had been read before it.
    pub(super) fn is_over(self, is_first: bool, taken: usize, short: usize, read_to: Option<RecordTimestamp>) -> bool {
        let is_short = is_first || matches!(self, By::Time(Some(next)) if read_to > Some(next));
        taken >= if is_short { short } else { LONG_TURN }
    }
}

/// Who had its last turn when there were as many records or fewer is passed over; none is so early.
pub(super) fn passed_over(taken: u64, waiting: usize) -> Option<u64> {
    taken.checked_sub(PASSED_OVER * waiting as u64)
}

/// Whose turn it is, and why, of these partitions by their numbers. With `passed_over`, it may be one that is.
pub(super) fn whose_turn<T>(
    waiting: impl Iterator<Item = (i32, Place, T)>,
    awaited: Option<&Awaited>,
    passed_over: Option<u64>,
    now: Instant,
) -> Option<(T, By)> {
    let why = |place: &Place| {
        if now.saturating_duration_since(place.last_turn) >= MOST_WAIT {
            By::Wait
        } else if passed_over.is_some_and(|then| place.taken_then <= then) {
            By::Share
        } else {
            By::Time(None)
        }
    };
    let mut first: Option<(_, _, (T, By))> = None;
    let mut next: Option<RecordTimestamp> = None;
    for (number, place, one) in waiting {
        let by = why(&place);
        let by_time = by == By::Time(None);
        if by_time && awaited.is_some_and(|awaited| awaited.holds(number, &place)) {
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
    fn turn_of(stood: &[Stood], awaited: Option<&Awaited>, is_share: bool) -> Option<(&'static str, By)> {
        turn_of_numbers(&stood.iter().map(|stood| (NUMBER, stood)).collect::<Vec<_>>(), awaited, is_share)
    }

    fn turn_of_numbers(
        stood: &[(i32, &Stood)],
        awaited: Option<&Awaited>,
        is_share: bool,
    ) -> Option<(&'static str, By)> {
        const TAKEN: u64 = 2 * MANY;
        let now = Instant::now();
        let place = |&(number, &Stood(name, read_to, waited, others))| {
            let last_turn = now.checked_sub(Duration::from_millis(waited)).unwrap();
            (number, Place { read_to: read_to.and_then(time), last_turn, taken_then: TAKEN - others }, name)
        };
        whose_turn(stood.iter().map(place), awaited, is_share.then_some(TAKEN - MANY), now)
    }

    const NUMBER: i32 = 7;

    /// For a partition of [`NUMBER`] that is being fetched and has been read to this time.
    fn awaited(read_to: Option<i64>, backlog: TimeDelta) -> Awaited {
        let awaited = Awaited::of([(NUMBER, read_to.and_then(time))].into_iter()).unwrap();
        Awaited { backlog: DateTime::UNIX_EPOCH + backlog, ..awaited }
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
        let is_over = |by: By, taken, read_to| by.is_over(false, taken, SHORT_TURN, time(read_to));
        assert!(!is_over(by_time(12), SHORT_TURN - 1, 13));
        assert!(is_over(by_time(12), SHORT_TURN, 13));
        assert!(!is_over(by_time(12), LONG_TURN - 1, 12));
        assert!(is_over(by_time(12), LONG_TURN, 12));
        for by in [By::Time(None), By::Share, By::Wait] {
            assert!(!is_over(by, LONG_TURN - 1, 13));
            assert!(is_over(by, LONG_TURN, 13));
        }
    }

    #[test]
    fn a_first_turn_is_short_whyever_it_came() {
        for by in [By::Time(None), by_time(12), By::Share, By::Wait] {
            assert!(!by.is_over(true, SHORT_TURN - 1, SHORT_TURN, time(6)));
            assert!(by.is_over(true, SHORT_TURN, SHORT_TURN, time(6)));
        }
    }

    #[test]
    fn with_many_partitions_a_short_turn_is_longer() {
        assert_eq!([1, 26, 27, 150, 1_000].map(short_turn), [SHORT_TURN, SHORT_TURN, 9, 50, LONG_TURN]);
    }

    #[test]
    fn of_two_that_are_equally_far_the_one_goes_first_whose_last_turn_is_longer_ago() {
        let stood = [Stood("late", Some(6), 1, 0), Stood("early", Some(6), 2, 0)];
        assert_eq!(turn_of(&stood, None, false), Some(("early", by_time(6))));
    }

    #[test]
    fn who_has_not_been_read_yet_goes_first_so_that_its_time_is_known() {
        let stood = [Stood("dawn", Some(6), 5, 0), Stood("new", None, 0, 0)];
        assert_eq!(turn_of(&stood, None, false), Some(("new", by_time(6))));
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
        let turn = |read_to| turn_of(&stood, Some(&awaited(read_to, TimeDelta::hours(1))), false);
        assert_eq!(turn(Some(6)), None);
        assert_eq!(turn(None), None, "nothing has come of it yet");
        assert_eq!(turn(Some(12)), Some(("noon", By::Time(None))));
        assert_eq!(turn(Some(18)), Some(("noon", by_time(18))));
    }

    #[test]
    fn of_several_that_are_being_fetched_the_one_counts_that_is_furthest_behind() {
        let fetched = |times: [Option<i64>; 3]| Awaited::of(times.map(|at| (NUMBER, at.and_then(time))).into_iter());
        for (times, turn) in [([Some(12), Some(11), Some(12)], None), ([Some(12); 3], Some(("noon", By::Time(None))))] {
            assert_eq!(turn_of(&[Stood("noon", Some(12), 3, 0)], fetched(times).as_ref(), false), turn);
        }
    }

    #[test]
    fn partitions_of_other_numbers_do_not_wait_for_it() {
        let awaited = awaited(Some(6), TimeDelta::hours(1));
        let (noon, dusk) = (Stood("noon", Some(12), 3, 0), Stood("dusk", Some(18), 1, 0));
        let stood = [(NUMBER, &noon), (NUMBER + 1, &dusk)];
        assert_eq!(turn_of_numbers(&stood, Some(&awaited), false), Some(("dusk", By::Time(None))));
        assert_eq!(turn_of_numbers(&stood, None, false), Some(("noon", by_time(18))));
    }

    #[test]
    fn who_is_no_backlog_or_has_waited_long_or_was_passed_over_waits_for_nobody() {
        let most = u64::try_from(MOST_WAIT.as_millis()).unwrap();
        let awaited = Some(&awaited(Some(6), TimeDelta::milliseconds(15)));
        let with = |other| [Stood("noon", Some(12), 3, 0), other];
        let young = with(Stood("young", Some(18), 1, 0));
        assert_eq!(turn_of(&young, awaited, false), Some(("young", By::Time(None))));
        assert_eq!(turn_of(&with(Stood("patient", Some(12), most, 0)), awaited, false), Some(("patient", By::Wait)));
        let passed_over = with(Stood("passed over", Some(12), 1, MANY));
        assert_eq!(turn_of(&passed_over, awaited, true), Some(("passed over", By::Share)));
        let without_time = with(Stood("without time", None, 1, 0));
        assert_eq!(turn_of(&without_time, awaited, false), Some(("without time", By::Time(None))));
    }
}
