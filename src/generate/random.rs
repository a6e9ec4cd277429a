//! Seeded dice. Only arithmetic that is the same on every machine, so that a seed names one stream of bytes.

use std::ops::RangeInclusive;

use chrono::TimeDelta;
use uuid::Uuid;

pub(super) struct Random(fastrand::Rng);

/// Where a value of [`Random::skewed`] lies in relation to the middle, tenth by tenth: most are near it, few are far
/// above. Their mean is 1.7. A table instead of `exp` and `ln`, whose last digits differ from machine to machine.
const TENTHS: [f64; 11] = [0.1, 0.3, 0.45, 0.6, 0.8, 1.0, 1.25, 1.6, 2.2, 3.5, 10.0];

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.0.f64() < share
    }

    pub(super) fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.u64(range)
    }

    /// One of the items, of which there is at least one.
    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.0.usize(..items.len())]
    }

    /// One of the items, each as often as its weight says. The weights' sum is not zero.
    pub(super) fn weighted<T: Copy>(&mut self, items: &[(u32, T)]) -> T {
        let sum: u32 = items.iter().map(|(weight, _)| weight).sum();
        let mut left = self.0.u32(..sum);
        let hit = items.iter().find(|(weight, _)| {
            let hit = left < *weight;
            left = left.saturating_sub(*weight);
            hit
        });
        // Something is always hit, since `left` is less than the sum.
        hit.unwrap_or(&items[0]).1
    }

    pub(super) fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.0.u128(..).to_be_bytes()).into_uuid()
    }

    /// A positive number with a long tail, half of them below `middle`, none above forty times that.
    pub(super) fn skewed(&mut self, middle: f64) -> f64 {
        let tenth = self.0.usize(..TENTHS.len() - 1);
        let within = self.0.f64();
        let value = middle * (TENTHS[tenth] + within * (TENTHS[tenth + 1] - TENTHS[tenth]));
        if self.chance(0.01) { value * 4.0 } else { value }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive numbers")]
    pub(super) fn skewed_count(&mut self, middle: f64) -> u64 {
        self.skewed(middle).round() as u64
    }

    /// A span of time with a long tail.
    pub(super) fn pause(&mut self, middle_seconds: f64) -> TimeDelta {
        TimeDelta::microseconds(i64::try_from(self.skewed_count(middle_seconds * 1e6)).unwrap_or(0))
    }

    pub(super) fn seconds(&mut self, range: RangeInclusive<u64>) -> TimeDelta {
        let micros = self.between(range.start() * 1_000_000..=range.end() * 1_000_000);
        TimeDelta::microseconds(i64::try_from(micros).unwrap_or(0))
    }

    pub(super) fn letters(&mut self, alphabet: &[u8], count: usize) -> String {
        (0..count).map(|_| char::from(self.pick(alphabet))).collect()
    }
}
