//! The circuit breaker around Postgres: after some failures in a row nobody asks it for a while, then one probe at a
//! time decides.
//!
//! Only what says that Postgres is away counts as a failure. Whatever it refuses, it answers. A full disk is read from
//! as ever, so what was read says nothing once writing failed.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long to wait while somebody else's probe is under way.
const WHILE_PROBING: Duration = Duration::from_millis(100);

/// When it opens, and when it closes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failures in a row after which it opens.
    pub failure_threshold: NonZeroU32,
    /// How long nobody asks, once it is open.
    pub open_for: Duration,
    /// Probes in a row that must succeed before it closes. One that fails opens it again at once.
    pub half_open_successes: NonZeroU32,
}

/// What the breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// One probe at a time.
    HalfOpen,
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        })
    }
}

/// The breaker as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerReport {
    pub state: BreakerState,
    /// How often it has opened since the start.
    pub openings: u64,
}

/// What an attempt was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered(Access),
    Failed(Access),
    /// Nobody waited for its end.
    Abandoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { since: Instant },
    HalfOpen { successes: u32, probing: bool },
}

/// The rules, without a clock.
#[derive(Debug)]
struct Rules {
    options: BreakerOptions,
    state: State,
    /// Whether the last that was written, or tried to be, failed.
    writing_failed: bool,
    /// Grows with each change of state: what was let through before says nothing about the state after it.
    generation: u64,
    openings: u64,
}

impl Rules {
    fn new(options: BreakerOptions) -> Self {
        Self { options, state: State::Closed { failures: 0 }, writing_failed: false, generation: 0, openings: 0 }
    }

    /// Lets an attempt through, with the generation that its outcome belongs to; or says how long to wait.
    fn admit(&mut self, now: Instant) -> Result<u64, Duration> {
        if let State::Open { since } = self.state {
            let left = self.options.open_for.saturating_sub(now.saturating_duration_since(since));
            if !left.is_zero() {
                return Err(left);
            }
            self.enter(State::HalfOpen { successes: 0, probing: false });
        }
        if let State::HalfOpen { probing, .. } = &mut self.state
            && std::mem::replace(probing, true)
        {
            return Err(WHILE_PROBING);
        }
        Ok(self.generation)
    }

    fn settle(&mut self, generation: u64, outcome: Outcome, now: Instant) {
        if generation != self.generation {
            return;
        }
        match outcome {
            Outcome::Answered(Access::Write) => self.writing_failed = false,
            Outcome::Failed(Access::Write) => self.writing_failed = true,
            _ => {}
        }
        let says_nothing = outcome == Outcome::Answered(Access::Read) && self.writing_failed;
        match (&mut self.state, if says_nothing { Outcome::Abandoned } else { outcome }) {
            (State::Closed { failures }, Outcome::Answered(_)) => *failures = 0,
            (State::Closed { failures }, Outcome::Failed(_)) => {
                *failures += 1;
                if *failures >= self.options.failure_threshold.get() {
                    self.open(now);
                }
            }
            (State::HalfOpen { successes, probing }, Outcome::Answered(_)) => {
                (*successes, *probing) = (*successes + 1, false);
                if *successes >= self.options.half_open_successes.get() {
                    self.enter(State::Closed { failures: 0 });
                }
            }
            (State::HalfOpen { .. }, Outcome::Failed(_)) => self.open(now),
            (State::HalfOpen { probing, .. }, Outcome::Abandoned) => *probing = false,
            (State::Closed { .. }, Outcome::Abandoned) | (State::Open { .. }, _) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        self.openings += 1;
        self.enter(State::Open { since: now });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        let openings = self.openings;
        match state {
            State::Open { .. } => {
                let seconds = self.options.open_for.as_secs_f64();
                tracing::warn!(openings, probe_in_seconds = seconds, "circuit breaker open: Postgres is left alone");
            }
            State::HalfOpen { .. } => tracing::info!(openings, "circuit breaker half-open: asking Postgres again"),
            State::Closed { .. } => tracing::info!(openings, "circuit breaker closed: Postgres answers again"),
        }
    }

    fn report(&self) -> BreakerReport {
        let state = match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        };
        BreakerReport { state, openings: self.openings }
    }
}

/// One breaker for all who use the same Postgres.
#[derive(Debug)]
pub(super) struct Breaker(Mutex<Rules>);

impl Breaker {
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self(Mutex::new(Rules::new(options)))
    }

    /// Lets an attempt through, or says how long to wait before asking again.
    pub(super) fn admit(&self) -> Result<Permit<'_>, Duration> {
        let generation = self.rules().admit(Instant::now())?;
        Ok(Permit { breaker: self, generation, outcome: Outcome::Abandoned })
    }

    pub(super) fn report(&self) -> BreakerReport {
        self.rules().report()
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that was let through. Dropped without an outcome, it says nothing about Postgres.
#[must_use]
#[derive(Debug)]
pub(super) struct Permit<'b> {
    breaker: &'b Breaker,
    generation: u64,
    outcome: Outcome,
}

impl Permit<'_> {
    /// Postgres answered, whatever it said; or it is away.
    pub(super) fn settle(mut self, access: Access, answered: bool) {
        self.outcome = if answered { Outcome::Answered(access) } else { Outcome::Failed(access) };
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.breaker.rules().settle(self.generation, self.outcome, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn options(failures: u32, successes: u32) -> BreakerOptions {
        BreakerOptions {
            failure_threshold: NonZeroU32::new(failures).unwrap(),
            open_for: OPEN_FOR,
            half_open_successes: NonZeroU32::new(successes).unwrap(),
        }
    }

    /// What can happen next.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Step {
        Attempt(Outcome),
        /// Half of the time for which it is open.
        Wait,
    }

    const STEPS: [Step; 6] = [
        Step::Attempt(Outcome::Answered(Access::Write)),
        Step::Attempt(Outcome::Failed(Access::Write)),
        Step::Attempt(Outcome::Answered(Access::Read)),
        Step::Attempt(Outcome::Failed(Access::Read)),
        Step::Attempt(Outcome::Abandoned),
        Step::Wait,
    ];

    /// The definition: what the breaker is after these steps, found from the outcomes since its last change.
    fn defined(options: BreakerOptions, steps: &[Step]) -> (BreakerState, u64) {
        let (mut state, mut openings) = (BreakerState::Closed, 0);
        let (mut outcomes, mut waits, mut last_write) = (Vec::new(), 0, None);
        for step in steps {
            match step {
                Step::Wait => waits += 1,
                Step::Attempt(_) if state == BreakerState::Open && waits < 2 => {}
                Step::Attempt(outcome) => {
                    if state == BreakerState::Open {
                        (state, outcomes) = (BreakerState::HalfOpen, Vec::new());
                    }
                    match outcome {
                        Outcome::Answered(Access::Read) if last_write == Some(false) => {}
                        Outcome::Answered(_) => outcomes.push(true),
                        Outcome::Failed(_) => outcomes.push(false),
                        Outcome::Abandoned => {}
                    }
                    match outcome {
                        Outcome::Answered(Access::Write) => last_write = Some(true),
                        Outcome::Failed(Access::Write) => last_write = Some(false),
                        _ => {}
                    }
                }
            }
            let last = |answered| outcomes.iter().rev().take_while(|outcome| **outcome == answered).count() as u32;
            let opens = match state {
                BreakerState::Closed => last(false) >= options.failure_threshold.get(),
                BreakerState::HalfOpen => last(false) > 0,
                BreakerState::Open => false,
            };
            if opens {
                (state, openings, waits, outcomes) = (BreakerState::Open, openings + 1, 0, Vec::new());
            } else if state == BreakerState::HalfOpen && last(true) >= options.half_open_successes.get() {
                (state, outcomes) = (BreakerState::Closed, Vec::new());
            }
        }
        (state, openings)
    }

    #[test]
    fn after_every_sequence_of_seven_steps_it_is_what_its_definition_says() {
        for (failures, successes) in [(1, 1), (2, 1), (3, 2)] {
            let options = options(failures, successes);
            for number in 0..6_usize.pow(7) {
                let steps: Vec<Step> = (0..7).map(|digit| STEPS[number / 6_usize.pow(digit) % 6]).collect();
                let (mut rules, mut now) = (Rules::new(options), Instant::now());
                for step in &steps {
                    match step {
                        Step::Wait => now += OPEN_FOR / 2,
                        Step::Attempt(outcome) => {
                            if let Ok(generation) = rules.admit(now) {
                                rules.settle(generation, *outcome, now);
                            }
                        }
                    }
                }
                let report = rules.report();
                assert_eq!((report.state, report.openings), defined(options, &steps), "{steps:?}");
            }
        }
    }

    #[test]
    fn open_it_says_how_long_to_wait_and_half_open_it_lets_one_through_at_a_time() {
        let (mut rules, now) = (Rules::new(options(1, 2)), Instant::now());
        let generation = rules.admit(now).unwrap();
        rules.settle(generation, Outcome::Failed(Access::Write), now);
        assert_eq!(rules.admit(now + OPEN_FOR / 4), Err(OPEN_FOR * 3 / 4));
        let probe = rules.admit(now + OPEN_FOR).unwrap();
        assert_eq!(rules.admit(now + OPEN_FOR), Err(WHILE_PROBING));
        rules.settle(probe, Outcome::Abandoned, now + OPEN_FOR);
        assert_eq!(rules.admit(now + OPEN_FOR), Ok(probe));
    }

    #[test]
    fn what_was_let_through_before_it_opened_changes_nothing_after_it() {
        let (mut rules, now) = (Rules::new(options(1, 1)), Instant::now());
        let (first, second, third) = (rules.admit(now).unwrap(), rules.admit(now).unwrap(), rules.admit(now).unwrap());
        rules.settle(first, Outcome::Failed(Access::Write), now);
        rules.settle(second, Outcome::Answered(Access::Write), now);
        assert_eq!(rules.report(), BreakerReport { state: BreakerState::Open, openings: 1 });
        let probe = rules.admit(now + OPEN_FOR).unwrap();
        rules.settle(third, Outcome::Failed(Access::Write), now + OPEN_FOR);
        assert_eq!(rules.report().state, BreakerState::HalfOpen);
        rules.settle(probe, Outcome::Answered(Access::Write), now + OPEN_FOR);
        assert_eq!(rules.report(), BreakerReport { state: BreakerState::Closed, openings: 1 });
    }

    #[test]
    fn what_is_read_between_writes_that_fail_neither_keeps_it_closed_nor_closes_it() {
        let (mut rules, now) = (Rules::new(options(2, 1)), Instant::now());
        let mut attempt = |outcome, at| {
            let generation = rules.admit(at).unwrap();
            rules.settle(generation, outcome, at);
            rules.report().state
        };
        let read = Outcome::Answered(Access::Read);
        assert_eq!(attempt(Outcome::Failed(Access::Write), now), BreakerState::Closed);
        assert_eq!(attempt(read, now), BreakerState::Closed);
        assert_eq!(attempt(Outcome::Failed(Access::Write), now), BreakerState::Open);
        assert_eq!(attempt(read, now + OPEN_FOR), BreakerState::HalfOpen);
        assert_eq!(attempt(Outcome::Answered(Access::Write), now + OPEN_FOR), BreakerState::Closed);
    }

    #[test]
    fn a_permit_that_is_dropped_frees_the_way_for_another() {
        let breaker = Breaker::new(BreakerOptions { open_for: Duration::ZERO, ..options(1, 1) });
        breaker.admit().unwrap().settle(Access::Write, false);
        drop(breaker.admit().unwrap());
        breaker.admit().unwrap().settle(Access::Write, true);
        assert_eq!(breaker.report(), BreakerReport { state: BreakerState::Closed, openings: 1 });
    }
}
