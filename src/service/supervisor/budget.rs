//! How many restarts there may be.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// Restarts that all parts share: so many within any time as long as the window.
#[derive(Debug)]
pub(super) struct RestartBudget {
    most: NonZeroU32,
    window: Duration,
    /// Those within the window, oldest first.
    spent: VecDeque<Instant>,
}

impl RestartBudget {
    pub(super) fn new(most: NonZeroU32, window: Duration) -> Self {
        Self { most, window, spent: VecDeque::new() }
    }

    /// Takes one restart out of the budget; false where none is left.
    #[must_use]
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        self.forget_before(now);
        let allowed = self.spent.len() < self.most.get() as usize;
        if allowed {
            self.spent.push_back(now);
        }
        allowed
    }

    /// Restarts within the window that ends now.
    pub(super) fn spent(&mut self, now: Instant) -> usize {
        self.forget_before(now);
        self.spent.len()
    }

    fn forget_before(&mut self, now: Instant) {
        while self.spent.front().is_some_and(|at| now.saturating_duration_since(*at) >= self.window) {
            self.spent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_window_ever_holds_more_restarts_than_the_budget_and_none_is_refused_without_need(
            most in 1_u32..6,
            pauses in proptest::collection::vec(0_u64..40, 1..60),
        ) {
            let (begun, window) = (Instant::now(), Duration::from_secs(60));
            let mut budget = RestartBudget::new(NonZeroU32::new(most).unwrap(), window);
            let (mut at, mut allowed) = (begun, Vec::new());
            for pause in pauses {
                at += Duration::from_secs(pause);
                let within = allowed.iter().filter(|before| at - **before < window).count();
                prop_assert_eq!(budget.spent(at), within);
                let spends = budget.spend(at);
                prop_assert_eq!(spends, within < most as usize);
                if spends {
                    allowed.push(at);
                }
            }
        }
    }
}
