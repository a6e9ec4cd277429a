//! How the parts are, for anybody to see.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::budget::RestartBudget;

/// How the parts are. Written by the supervisor, read by anybody.
#[derive(Debug)]
pub struct Board {
    parts: Mutex<BTreeMap<&'static str, PartStanding>>,
    budget: Mutex<RestartBudget>,
}

/// How a part is.
#[derive(Clone, Debug)]
pub struct PartStanding {
    pub state: PartState,
    /// Since when it has been in this state.
    pub since: Instant,
    /// How often it was begun anew.
    pub restarts: u64,
    /// Why it was last down, also if it is up again.
    pub last_error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartState {
    Up,
    /// It lives, and doesn't answer or doesn't get on.
    Down,
    /// It has ended, and will be begun anew.
    Restarting,
    /// It has ended for good.
    Ended,
}

impl PartState {
    pub fn as_str(self) -> &'static str {
        match self {
            PartState::Up => "up",
            PartState::Down => "down",
            PartState::Restarting => "restarting",
            PartState::Ended => "ended",
        }
    }
}

impl Board {
    pub(super) fn new(budget: RestartBudget) -> Self {
        Self { parts: Mutex::default(), budget: Mutex::new(budget) }
    }

    /// Each part, by name.
    pub fn parts(&self) -> BTreeMap<&'static str, PartStanding> {
        self.lock().clone()
    }

    /// Restarts of all parts within the window of the budget.
    pub fn restarts(&self) -> usize {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).spent(Instant::now())
    }

    /// The parts that have not been up for longer than this.
    pub fn down_for(&self, patience: Duration) -> Vec<&'static str> {
        let is_down = |standing: &PartStanding| {
            matches!(standing.state, PartState::Down | PartState::Restarting) && standing.since.elapsed() > patience
        };
        self.lock().iter().filter(|(_, standing)| is_down(standing)).map(|(name, _)| *name).collect()
    }

    /// Takes one restart of a part out of the budget; false where none is left.
    #[must_use]
    pub(super) fn spend(&self, name: &'static str) -> bool {
        let allowed = self.budget.lock().unwrap_or_else(PoisonError::into_inner).spend(Instant::now());
        if allowed && let Some(standing) = self.lock().get_mut(name) {
            standing.restarts += 1;
        }
        allowed
    }

    pub(super) fn set(&self, name: &'static str, state: PartState, error: Option<String>) {
        let mut parts = self.lock();
        let new = PartStanding { state, since: Instant::now(), restarts: 0, last_error: None };
        let standing = parts.entry(name).or_insert(new);
        // One that is down and then restarted has not been up in between.
        let was_up = matches!(standing.state, PartState::Up | PartState::Ended);
        if was_up != matches!(state, PartState::Up | PartState::Ended) {
            standing.since = Instant::now();
        }
        standing.state = state;
        if error.is_some() {
            standing.last_error = error;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, PartStanding>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
