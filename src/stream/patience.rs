//! How long the others of its number wait for a partition that is behind them in time, and of which nothing is there to be
//! read: it is being fetched. Else they would run hours ahead of it within a few milliseconds.

use std::time::{Duration, Instant};

/// How long they wait where the pipeline has enough to do meanwhile.
const USUAL: Duration = Duration::from_millis(20);
/// How long they wait for the first records of all, whatever the pipeline has to do.
const AT_FIRST: Duration = Duration::from_millis(100);
/// A partition of a backlog brings as many records at a time. For one that trickles nobody waits.
const FEWEST: usize = 64;

/// How a partition's records have been coming.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Supply {
    /// Whether any came.
    has_begun: bool,
    /// Nothing came since the broker said that there was no more.
    at_end: bool,
    /// How many were taken since there last was nothing to take.
    taken: usize,
    /// Since when there is nothing to take, and how many were taken before.
    empty: Option<(Instant, usize)>,
}

/// What is there behind the records that were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Perhaps more that was fetched.
    Perhaps,
    /// Nothing that was fetched.
    Nothing,
    /// The end of the log, as it was when it was asked for.
    EndOfLog,
}

impl Supply {
    /// `taken` records were taken of it.
    pub(super) fn took(&mut self, taken: usize, behind: Behind, now: Instant) {
        self.has_begun |= taken > 0;
        self.taken += taken;
        self.at_end = behind == Behind::EndOfLog || (self.at_end && taken == 0);
        if behind == Behind::Perhaps {
            self.empty = None;
        } else if taken > 0 || self.empty.is_none() {
            self.empty = Some((now, std::mem::take(&mut self.taken)));
        }
    }

    /// Whether something should come soon, so that it is worth waiting for. `is_busy` says that the pipeline has enough to
    /// do.
    pub(super) fn is_expected(&self, is_busy: bool, now: Instant) -> bool {
        let Some((since, taken_before)) = self.empty.filter(|_| !self.at_end) else { return false };
        let patience = if !self.has_begun {
            AT_FIRST
        } else if is_busy && taken_before >= FEWEST {
            USUAL
        } else {
            return false;
        };
        now.saturating_duration_since(since) < patience
    }

    /// What was known of the end is void.
    pub(super) fn moved(&mut self) {
        self.at_end = false;
    }

    /// Nothing will come.
    pub(super) fn finished(&mut self) {
        self.at_end = true;
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether everything was taken that there was when the broker was asked last.
    pub(super) fn is_at_end(&self) -> bool {
        self.at_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of which so many records were taken just before, which were all.
    fn emptied(taken: usize, now: Instant) -> Supply {
        let mut supply = Supply::default();
        supply.took(taken, Behind::Nothing, now);
        supply
    }

    #[test]
    fn a_partition_of_a_backlog_is_waited_for_a_moment_while_the_pipeline_is_busy() {
        let now = Instant::now();
        let supply = emptied(FEWEST, now);
        assert!(supply.is_expected(true, now));
        assert!(!supply.is_expected(false, now));
        assert!(!supply.is_expected(true, now + USUAL));
    }

    #[test]
    fn of_a_partition_that_trickles_nothing_is_expected() {
        let now = Instant::now();
        assert!(!emptied(FEWEST - 1, now).is_expected(true, now));
        let mut supply = emptied(FEWEST, now);
        supply.took(1, Behind::Nothing, now);
        assert!(!supply.is_expected(true, now));
    }

    #[test]
    fn what_one_fetch_brought_counts_together_though_it_was_taken_in_turns() {
        let now = Instant::now();
        let mut supply = Supply::default();
        supply.took(FEWEST - 1, Behind::Perhaps, now);
        assert!(!supply.is_expected(true, now), "more is there");
        supply.took(1, Behind::Nothing, now);
        assert!(supply.is_expected(true, now));
    }

    #[test]
    fn the_first_records_of_all_are_waited_for_longer_and_also_by_an_idle_pipeline() {
        let now = Instant::now();
        let supply = emptied(0, now);
        assert!(!supply.has_begun());
        assert!(supply.is_expected(false, now + USUAL));
        assert!(!supply.is_expected(false, now + AT_FIRST));
    }

    #[test]
    fn asking_again_in_vain_does_not_begin_the_wait_anew() {
        let now = Instant::now();
        let mut supply = emptied(0, now);
        supply.took(0, Behind::Nothing, now + AT_FIRST);
        assert!(!supply.is_expected(false, now + AT_FIRST));
    }

    #[test]
    fn at_the_end_of_its_log_nothing_is_expected_until_a_record_comes() {
        let now = Instant::now();
        let mut supply = emptied(FEWEST, now);
        supply.took(0, Behind::EndOfLog, now);
        assert!(!supply.is_expected(true, now) && supply.is_at_end());
        supply.took(0, Behind::Nothing, now);
        assert!(!supply.is_expected(true, now), "asking again in vain changes nothing");
        supply.took(FEWEST, Behind::Nothing, now);
        assert!(supply.is_expected(true, now) && !supply.is_at_end());

        let mut empty_log = Supply::default();
        empty_log.took(0, Behind::EndOfLog, now);
        assert!(!empty_log.is_expected(false, now));
    }

    #[test]
    fn an_end_is_void_where_reading_moved_and_comes_at_once_where_it_is_finished() {
        let now = Instant::now();
        let mut supply = emptied(FEWEST, now);
        supply.took(0, Behind::EndOfLog, now);
        supply.moved();
        assert!(supply.is_expected(true, now) && !supply.is_at_end());
        supply.finished();
        assert!(!supply.is_expected(true, now) && supply.is_at_end());
    }
}
