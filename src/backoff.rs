//! Waiting longer after each failure, at random, so that those who failed together don't try again together.

use std::time::Duration;

/// Delays that double from `least` to `most`, each drawn between half and all of its size.
#[derive(Clone, Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    attempts: u32,
}

impl Backoff {
    pub fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, attempts: 0 }
    }

    /// How many delays were asked for.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let delay = Self::delay(self.least, self.most, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        delay
    }

    /// The delay of one who has waited so often before, for those who count elsewhere.
    pub fn delay(least: Duration, most: Duration, waited: u32) -> Duration {
        let ceiling = least.saturating_mul(1 << waited.min(20)).min(most);
        ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Begins with the least again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_most_and_are_never_less_than_half_of_their_size() {
        let (least, most) = (Duration::from_millis(10), Duration::from_millis(100));
        let mut backoff = Backoff::new(least, most);
        for ceiling in [10, 20, 40, 80, 100, 100].map(Duration::from_millis) {
            let delay = backoff.next_delay();
            assert!(delay >= ceiling / 2 && delay <= ceiling, "{delay:?} of {ceiling:?}");
        }
    }
}
