//! A limit on how many records are taken in a second.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// What was not taken can be taken later, but no more than this much time's worth: who was held up doesn't rush then.
const ALLOWANCE: Duration = Duration::from_millis(100);

/// A bucket that fills at an even rate.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    allowed: f64,
    filled_at: Instant,
}

impl Pace {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self { per_second: per_second.get().into(), allowed: 1.0, filled_at: Instant::now() }
    }

    /// How many records may be taken now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, and never negative")]
    pub(super) fn allowed(&mut self) -> usize {
        self.fill(Instant::now());
        self.allowed as usize
    }

    /// Counts a record that was taken.
    pub(super) fn take(&mut self) {
        self.allowed -= 1.0;
    }

    fn fill(&mut self, now: Instant) {
        let most = (self.per_second * ALLOWANCE.as_secs_f64()).max(1.0);
        let new = self.per_second * now.duration_since(self.filled_at).as_secs_f64();
        self.allowed = (self.allowed + new).clamp(0.0, most);
        self.filled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_allowed_as_the_time_has_brought_and_no_more_than_a_tenth_of_a_second_has() {
        let mut pace = Pace::new(NonZeroU32::new(1_000).unwrap());
        let begun = pace.filled_at;
        pace.take();
        for (millis, expected) in [(10, 10.0), (60, 60.0), (60_000, 100.0)] {
            pace.fill(begun + Duration::from_millis(millis));
            assert!((pace.allowed - expected).abs() < 1e-6, "{} after {millis} ms", pace.allowed);
        }
    }

    #[test]
    fn one_a_second_is_allowed_once_a_second() {
        let mut pace = Pace::new(NonZeroU32::new(1).unwrap());
        let begun = pace.filled_at;
        pace.take();
        pace.fill(begun + Duration::from_millis(999));
        assert!(pace.allowed < 1.0);
        pace.fill(begun + Duration::from_millis(1_001));
        assert!(pace.allowed >= 1.0);
    }
}
