//! One partition that is being read: where, and whether its end was reached.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rdkafka::statistics::Partition;

use crate::{
    event::RecordTimestamp,
    record::{NextOffset, RecordOffset},
    store::Checkpoint,
};

use super::{lanes::LaneNumber, lease::Lease, standing::PartitionStanding};

/// An end that only librdkafka knows of is believed when nothing came for this long.
const QUIET: Duration = Duration::from_secs(5);
/// A position beyond the end of the log is believed after this long: a new leader may be behind for a moment.
const BELIEVE_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Reading {
    lease: Lease,
    lane: LaneNumber,
    position: NextOffset,
    /// The latest that is known.
    checkpoint: Checkpoint,
    /// Whether Kafka was told of the checkpoint, and didn't refuse it.
    is_told: bool,
    /// Where reading ends, wherever the log does.
    end: Option<NextOffset>,
    /// Events before it may become dead letters.
    kept_before: Option<NextOffset>,
    /// Fetching was told to stop at the end.
    fetch_stopped: bool,
    halted: bool,
    /// Waiting for the checkpoint to be read anew.
    suspended: bool,
    /// How many statistics in a row found the end reached, with no record in between.
    seen_at_end: u8,
    beyond_since: Option<Instant>,
    /// How many statistics in a row came while records were asked for.
    observed: u8,
    /// Since when no record came although records were asked for.
    quiet_since: Instant,
    last_record_at: Option<RecordTimestamp>,
    last_at_end: Option<DateTime<Utc>>,
}

impl Reading {
    /// From `checkpoint` on, to `end` where there is one, without it.
    pub(super) fn new(lease: Lease, lane: LaneNumber, checkpoint: Checkpoint, end: Option<NextOffset>) -> Self {
        Self {
            lease,
            lane,
            position: checkpoint.next(),
            checkpoint,
            is_told: false,
            end,
            kept_before: None,
            fetch_stopped: false,
            halted: false,
            suspended: false,
            seen_at_end: 0,
            beyond_since: None,
            observed: 0,
            quiet_since: Instant::now(),
            last_record_at: None,
            last_at_end: None,
        }
    }

    /// The records of events before this offset are kept.
    pub(super) fn keeping_records_before(self, kept_before: Option<NextOffset>) -> Self {
        Self { kept_before, ..self }
    }

    /// Says that Kafka is told of this checkpoint.
    pub(super) fn tells(&mut self, checkpoint: Checkpoint) {
        (self.checkpoint, self.is_told) = (checkpoint, true);
    }

    /// Says that Kafka may have refused what it was told.
    pub(super) fn may_be_refused(&mut self) {
        self.is_told = false;
    }

    /// The checkpoint, where Kafka doesn't know of it and nothing lies behind it, so that no batch may ever come by which it
    /// would. It was moved, or whoever read before was gone before Kafka took the last offset, or Kafka refused it.
    ///
    /// With [`Self::end_of_log`]: an offset outside the log is nothing to tell. Nor is 0, before which there is nothing.
    pub(super) fn untold(&self, end_of_log: NextOffset) -> Option<&Checkpoint> {
        let next = self.checkpoint.next();
        let is_due = !self.is_told && self.position == next && end_of_log == next && next > NextOffset::new(0);
        is_due.then_some(&self.checkpoint)
    }

    pub(super) fn keeps_record(&self, record: RecordOffset) -> bool {
        self.kept_before.is_some_and(|before| before.is_past(record))
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(super) fn lane(&self) -> LaneNumber {
        self.lane
    }

    pub(super) fn position(&self) -> NextOffset {
        self.position
    }

    pub(super) fn last_record_at(&self) -> Option<RecordTimestamp> {
        self.last_record_at
    }

    pub(super) fn advance(&mut self, record: RecordOffset, timestamp: Option<RecordTimestamp>, now: Instant) {
        self.last_record_at = timestamp.or(self.last_record_at);
        self.position = record.next();
        self.seen_at_end = 0;
        self.beyond_since = None;
        self.quiet_since = now;
    }

    /// Says that something was fetched of it that waits for its turn.
    pub(super) fn has_records_waiting(&mut self) {
        self.quiet_since = Instant::now();
    }

    /// Whether reading has come to its own end, wherever the log's is.
    pub(super) fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }

    /// Says that a record behind the end was met, so that none is left before it. Offsets need not be consecutive.
    pub(super) fn finish_if_behind_end(&mut self, record: RecordOffset) {
        if let Some(end) = self.end
            && !end.is_past(record)
            && !self.suspended
        {
            self.position = self.position.max(end);
        }
    }

    /// True once, when it is finished and records are still asked for.
    pub(super) fn stops_being_fetched(&mut self) -> bool {
        self.is_finished() && !std::mem::replace(&mut self.fetch_stopped, true)
    }

    /// Whether records of it are asked for.
    pub(super) fn is_fetched(&self) -> bool {
        !self.halted && !self.is_finished()
    }

    /// False if it was halted before.
    pub(super) fn halt(&mut self) -> bool {
        !std::mem::replace(&mut self.halted, true)
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halted
    }

    /// Stops taking records until another reading takes this one's place.
    pub(super) fn suspend(&mut self) {
        self.suspended = true;
    }

    pub(super) fn takes(&self, record: RecordOffset) -> bool {
        !self.halted
            && !self.suspended
            && !self.position.is_past(record)
            && self.end.is_none_or(|end| end.is_past(record))
    }

    /// The first statistics after a start may still tell of the time before it, so one alone isn't believed.
    pub(super) fn is_at_end(&self) -> bool {
        !self.suspended && (self.seen_at_end >= 2 || self.is_finished())
    }

    /// Where the log ends, as librdkafka says. The position, where what follows it is nothing that a consumer sees.
    ///
    /// None where that may be old: librdkafka keeps an end from an earlier assignment until the next fetch, and a
    /// partition that is halted or paused isn't fetched, nor is one of which enough waits for its turn.
    pub(super) fn end_of_log(&self, seen: &Partition) -> Option<NextOffset> {
        let is_known = !self.halted && self.observed >= 2 && self.position.get() <= seen.hi_offset;
        let end = if self.is_at_end() { self.position } else { NextOffset::new(seen.hi_offset) };
        is_known.then_some(end)
    }

    /// With the lag that [`Self::observe`] returned.
    pub(super) fn standing(
        &mut self,
        seen: Option<&Partition>,
        lag: Option<u64>,
        connected: bool,
    ) -> PartitionStanding {
        // An end that may be old is not the end.
        let knows_end = connected && seen.is_some_and(|seen| self.end_of_log(seen).is_some());
        if lag == Some(0) && knows_end {
            self.last_at_end = Some(Utc::now());
        }
        let Self { position, last_record_at, last_at_end, halted, .. } = *self;
        PartitionStanding { position: Some(position), lag, last_record_at, last_at_end, halted, connected }
    }

    pub(super) fn is_beyond_the_log(&self) -> bool {
        !self.halted && self.beyond_since.is_some_and(|since| since.elapsed() >= BELIEVE_AFTER)
    }

    /// Takes in what librdkafka says of the partition; returns the lag, once the end is known.
    ///
    /// Its end and watermarks are those of fetch responses. What was fetched may not have been received yet, and is
    /// thrown away by a pause, so the end is reached when the position is there. The last records of a log can be ones
    /// that no consumer sees (the marks of transactions): then the position stays short of the end, and silence decides.
    pub(super) fn observe(&mut self, seen: &Partition, not_fetched: bool) -> Option<u64> {
        if not_fetched {
            self.quiet_since = Instant::now();
        }
        self.observed = if not_fetched { 0 } else { self.observed.saturating_add(1) };
        let fetched_to_end = seen.eof_offset >= 0 && seen.eof_offset == seen.next_offset;
        let received = self.position.get() >= seen.eof_offset || self.quiet_since.elapsed() >= QUIET;
        self.seen_at_end = if fetched_to_end && received { self.seen_at_end.saturating_add(1) } else { 0 };
        if seen.hi_offset < 0 {
            return None;
        }
        if self.position.get() > seen.hi_offset {
            self.beyond_since.get_or_insert_with(Instant::now);
        } else {
            self.beyond_since = None;
        }
        let end = self.end.map_or(seen.hi_offset, |end| end.get().min(seen.hi_offset));
        Some(if self.is_at_end() { 0 } else { u64::try_from(end - self.position.get()).unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::TopicPartition, stream::lease::Leases};

    fn checkpoint(next: i64) -> Checkpoint {
        Checkpoint::made_up(TopicPartition::new("t", 0), NextOffset::new(next))
    }

    fn reading_at(position: i64) -> Reading {
        let checkpoint = checkpoint(position);
        let lease = Leases::default().grant([checkpoint.partition().clone()]).remove(0);
        Reading::new(lease, LaneNumber::FIRST, checkpoint, None)
    }

    /// As librdkafka tells of a partition whose last record is at 99.
    fn fetched_to_end() -> Partition {
        Partition { next_offset: 100, eof_offset: 100, hi_offset: 100, ..Partition::default() }
    }

    #[test]
    fn the_end_is_reached_when_two_statistics_agree_with_the_position() {
        let mut reading = reading_at(99);
        reading.advance(RecordOffset::new(99), None, Instant::now());
        assert_eq!(reading.observe(&fetched_to_end(), false), Some(0));
        assert!(!reading.is_at_end());
        reading.observe(&fetched_to_end(), false);
        assert!(reading.is_at_end());
    }

    #[test]
    fn what_was_fetched_but_not_received_is_not_the_end_however_often_it_is_told() {
        let mut reading = reading_at(40);
        for _ in 0..100 {
            assert_eq!(reading.observe(&fetched_to_end(), true), Some(60));
        }
        assert!(!reading.is_at_end());
    }

    #[test]
    fn an_end_made_of_records_that_no_consumer_sees_is_believed_after_a_silence() {
        let mut reading = reading_at(98);
        reading.quiet_since = Instant::now().checked_sub(QUIET).unwrap();
        reading.observe(&fetched_to_end(), false);
        reading.observe(&fetched_to_end(), false);
        assert!(reading.is_at_end());
    }

    #[test]
    fn what_waits_for_its_turn_is_no_silence() {
        let mut reading = reading_at(40);
        reading.quiet_since = Instant::now().checked_sub(QUIET).unwrap();
        reading.has_records_waiting();
        assert_eq!(reading.observe(&fetched_to_end(), false), Some(60));
        assert_eq!(reading.observe(&fetched_to_end(), false), Some(60));
        assert!(!reading.is_at_end());
    }

    #[test]
    fn an_empty_partition_is_at_its_end_from_the_start() {
        let mut reading = reading_at(0);
        let empty = Partition { next_offset: 0, eof_offset: 0, hi_offset: 0, ..Partition::default() };
        reading.observe(&empty, false);
        reading.observe(&empty, false);
        assert!(reading.is_at_end());
    }

    #[test]
    fn an_end_is_told_once_it_can_not_be_that_of_an_earlier_assignment() {
        let mut reading = reading_at(40);
        reading.observe(&fetched_to_end(), false);
        assert_eq!(reading.end_of_log(&fetched_to_end()), None);
        reading.observe(&fetched_to_end(), false);
        assert_eq!(reading.end_of_log(&fetched_to_end()), Some(NextOffset::new(100)));
        reading.observe(&fetched_to_end(), true);
        reading.observe(&fetched_to_end(), false);
        assert_eq!(reading.end_of_log(&fetched_to_end()), None, "it was paused");
        reading.observe(&fetched_to_end(), false);
        reading.halt();
        assert_eq!(reading.end_of_log(&fetched_to_end()), None, "it is halted");
    }

    #[test]
    fn kafka_is_told_of_a_checkpoint_behind_which_nothing_lies_until_it_takes_it() {
        let end = NextOffset::new(100);
        let mut reading = reading_at(100);
        assert_eq!(reading.untold(NextOffset::new(101)), None, "a batch will tell it");
        assert_eq!(reading.untold(end), Some(&checkpoint(100)));
        reading.tells(checkpoint(100));
        assert_eq!(reading.untold(end), None);
        reading.may_be_refused();
        assert_eq!(reading.untold(end), Some(&checkpoint(100)));
        assert_eq!(reading_at(0).untold(NextOffset::new(0)), None, "nothing was ever there");
    }

    #[test]
    fn kafka_is_told_of_no_offset_that_is_read_and_not_committed() {
        let end = NextOffset::new(100);
        let mut reading = reading_at(99);
        reading.advance(RecordOffset::new(99), None, Instant::now());
        assert_eq!(reading.untold(end), None);
        reading.tells(checkpoint(100));
        reading.may_be_refused();
        assert_eq!(reading.untold(end), Some(&checkpoint(100)), "its batch's was refused");
    }

    #[test]
    fn how_far_it_is_behind_begins_where_the_end_was_last_reached_or_with_a_later_record() {
        let mut reading = reading_at(100);
        let seen = |hi_offset| Partition { next_offset: 100, eof_offset: 100, hi_offset, ..Partition::default() };
        let look = |reading: &mut Reading, seen: Partition, connected| {
            let lag = reading.observe(&seen, false);
            reading.standing(Some(&seen), lag, connected)
        };
        assert_eq!(look(&mut reading, seen(100), true).last_at_end, None, "one alone isn't believed");
        assert_eq!(look(&mut reading, seen(100), false).last_at_end, None, "without its leader the end is old");
        let before = Utc::now();
        let at_end = look(&mut reading, seen(100), true);
        let reached = at_end.last_at_end.unwrap();
        assert!(reached >= before);
        let later = |seconds| reached + chrono::TimeDelta::seconds(seconds);
        assert_eq!(at_end.behind(later(500)), Some(Duration::ZERO));

        // Idle for an hour, say: the first new record is not an hour old.
        let mut one_more = look(&mut reading, Partition { eof_offset: -1, ..seen(101) }, true);
        assert_eq!((one_more.lag, one_more.last_at_end), (Some(1), Some(reached)));
        assert_eq!(one_more.behind(later(2)), Some(Duration::from_secs(2)));
        let read_at = |seconds| RecordTimestamp::from_millis(later(seconds).timestamp_millis());
        one_more.last_record_at = read_at(-3_600);
        assert_eq!(one_more.behind(later(2)), Some(Duration::from_secs(2)), "that record was before the end");
        one_more.last_record_at = read_at(10);
        assert_eq!(one_more.behind(later(30)).unwrap().as_secs(), 20);
        assert_eq!(one_more.behind(later(0)), Some(Duration::ZERO), "a clock that is ahead");
        let unknown = PartitionStanding { last_record_at: None, last_at_end: None, ..one_more };
        assert_eq!(unknown.behind(later(0)), None);
    }

    #[test]
    fn a_suspended_reading_takes_no_record_and_has_no_end() {
        let mut reading = reading_at(100);
        reading.observe(&fetched_to_end(), false);
        reading.observe(&fetched_to_end(), false);
        reading.suspend();
        assert!(!reading.is_at_end());
        assert!(!reading.takes(RecordOffset::new(100)));
    }

    #[test]
    fn a_position_beyond_the_log_is_believed_after_a_while() {
        let mut reading = reading_at(101);
        reading.observe(&fetched_to_end(), false);
        assert!(!reading.is_beyond_the_log());
        reading.beyond_since = Instant::now().checked_sub(BELIEVE_AFTER);
        reading.observe(&fetched_to_end(), false);
        assert!(reading.is_beyond_the_log());
    }
}
