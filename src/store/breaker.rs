//! The circuit breaker around Postgres: after some failures in a row nobody asks it for a while, then one probe at a
//! time decides.
//!
//! Only what says that Postgres is away counts as a failure. Whatever it refuses, it answers. A full disk is read from
//! as ever, and transactions that find nothing to write succeed on it too: so a success says only that transactions of
//! its name succeed again.

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::error::StoreError;

/// How long to wait while somebody else's probe is under way.
const WHILE_PROBING: Duration = Duration::from_millis(100);

/// When it opens, and when it closes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failures after which it opens: of each transaction those since its last success, in all.
    pub failure_threshold: NonZeroU32,
    /// How long nobody asks, once it is open.
    pub open_for: Duration,
    /// Probes that must succeed before it closes, of transactions that failed and, once each of these has succeeded, of
    /// others. One that fails opens it again at once.
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

/// How an attempt at a transaction of this name ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered(&'static str),
    Failed(&'static str),
    /// Nobody waited for its end.
    Abandoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { since: Instant },
    HalfOpen { successes: u32, probing: bool },
}

/// The rules, without a clock.
#[derive(Debug)]
struct Rules {
    options: BreakerOptions,
    state: State,
    /// Of each transaction that failed, how often since its last success. One that succeeds while half-open stays, with
    /// none, so that its next success counts too.
    failures: BTreeMap<&'static str, u32>,
    /// Grows with each change of state: what was let through before says nothing about the state after it.
    generation: u64,
    openings: u64,
}

impl Rules {
    fn new(options: BreakerOptions) -> Self {
        Self { options, state: State::Closed, failures: BTreeMap::new(), generation: 0, openings: 0 }
    }

    /// Half-open once its time is over; until then, for how long it stays open.
    fn half_open(&mut self, now: Instant) -> Result<(), Duration> {
        if let State::Open { since } = self.state {
            let left = self.options.open_for.saturating_sub(now.saturating_duration_since(since));
            if !left.is_zero() {
                return Err(left);
            }
            self.enter(State::HalfOpen { successes: 0, probing: false });
        }
        Ok(())
    }

    /// Lets an attempt through, with the generation that its outcome belongs to; or says how long to wait.
    fn admit(&mut self, now: Instant) -> Result<u64, Duration> {
        self.half_open(now)?;
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
        match (&mut self.state, outcome) {
            (State::Closed, Outcome::Answered(name)) => drop(self.failures.remove(name)),
            (State::Closed, Outcome::Failed(name)) => {
                *self.failures.entry(name).or_default() += 1;
                if self.failures.values().sum::<u32>() >= self.options.failure_threshold.get() {
                    self.open(now);
                }
            }
            (State::HalfOpen { successes, probing }, Outcome::Answered(name)) => {
                *probing = false;
                let all_succeeded = self.failures.values().all(|failures| *failures == 0);
                match self.failures.get_mut(name) {
                    Some(failures) => *failures = 0,
                    None if all_succeeded => {}
                    None => return,
                }
                *successes += 1;
                if *successes >= self.options.half_open_successes.get() {
                    self.enter(State::Closed);
                }
            }
            (State::HalfOpen { .. }, Outcome::Failed(name)) => {
                *self.failures.entry(name).or_default() += 1;
                self.open(now);
            }
            (State::HalfOpen { probing, .. }, Outcome::Abandoned) => *probing = false,
            (State::Closed, Outcome::Abandoned) | (State::Open { .. }, _) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        self.openings += 1;
        self.enter(State::Open { since: now });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.failures.retain(|_, failures| *failures > 0);
        let openings = self.openings;
        match state {
            // Its permit knows why.
            State::Open { .. } => {}
            State::HalfOpen { .. } => tracing::info!(openings, "circuit breaker half-open: asking Postgres again"),
            State::Closed => tracing::info!(openings, "circuit breaker closed: Postgres answers again"),
        }
    }

    fn report(&self) -> BreakerReport {
        let state = match self.state {
            State::Closed => BreakerState::Closed,
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
        Ok(Permit { breaker: self, generation, outcome: Outcome::Abandoned, cause: None })
    }

    /// Postgres answered somebody who doesn't ask through here. That makes it half-open, if its time is over, without the
    /// next attempt, for which one who has nothing to do would wait long. It closes nothing: only what failed can tell
    /// that it succeeds again.
    pub(super) fn note_sign_of_life(&self) {
        // Open for a while yet, it stays so.
        let _ = self.rules().half_open(Instant::now());
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
    /// What the failure said.
    cause: Option<String>,
}

impl Permit<'_> {
    /// Postgres answered, whatever it said.
    pub(super) fn answered(mut self, name: &'static str) {
        self.outcome = Outcome::Answered(name);
    }

    /// Postgres is away, or can't do what it was asked for.
    pub(super) fn failed(mut self, name: &'static str, cause: &StoreError) {
        (self.outcome, self.cause) = (Outcome::Failed(name), Some(cause.to_string()));
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut rules = self.breaker.rules();
        let before = rules.openings;
        rules.settle(self.generation, self.outcome, Instant::now());
        if rules.openings > before {
            tracing::warn!(
                openings = rules.openings,
                probe_in_seconds = rules.options.open_for.as_secs_f64(),
                cause = self.cause.take(),
                "circuit breaker open: Postgres is left alone"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);
    const READ: &str = "read";
    const WRITE: &str = "write";

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
        /// Postgres answers somebody else.
        SignOfLife,
    }

    const STEPS: [Step; 7] = [
        Step::Attempt(Outcome::Answered(READ)),
        Step::Attempt(Outcome::Failed(READ)),
        Step::Attempt(Outcome::Answered(WRITE)),
        Step::Attempt(Outcome::Failed(WRITE)),
        Step::Attempt(Outcome::Abandoned),
        Step::Wait,
        Step::SignOfLife,
    ];

    /// The attempts of these names since their last success: all failed.
    fn outstanding(attempts: &[Outcome], name: &'static str) -> u32 {
        let of_name = attempts.iter().rev().filter(|outcome| **outcome != Outcome::Abandoned);
        let of_name =
            of_name.filter(|outcome| matches!(outcome, Outcome::Answered(n) | Outcome::Failed(n) if *n == name));
        of_name.take_while(|outcome| **outcome == Outcome::Failed(name)).count() as u32
    }

    /// The definition: what the breaker is after these steps, found from all outcomes of what it let through.
    fn defined(options: BreakerOptions, steps: &[Step]) -> (BreakerState, u64) {
        let (mut state, mut openings, mut waits) = (BreakerState::Closed, 0, 0);
        let (mut attempts, mut opened_at) = (Vec::new(), 0);
        for step in steps {
            let outcome = match step {
                Step::Wait => {
                    waits += 1;
                    continue;
                }
                _ if state == BreakerState::Open && waits < 2 => continue,
                Step::SignOfLife if state == BreakerState::Open => {
                    state = BreakerState::HalfOpen;
                    continue;
                }
                Step::SignOfLife => continue,
                Step::Attempt(outcome) => *outcome,
            };
            if state == BreakerState::Open {
                state = BreakerState::HalfOpen;
            }
            attempts.push(outcome);
            let failed = matches!(outcome, Outcome::Failed(_));
            let in_all = outstanding(&attempts, READ) + outstanding(&attempts, WRITE);
            let opens = match state {
                BreakerState::Closed => failed && in_all >= options.failure_threshold.get(),
                BreakerState::HalfOpen => failed,
                BreakerState::Open => false,
            };
            let tells = |at: &usize| {
                let had_failed = |name| outstanding(&attempts[..opened_at], name) > 0;
                let nothing_fails = || [READ, WRITE].iter().all(|name| outstanding(&attempts[..*at], name) == 0);
                matches!(attempts[*at], Outcome::Answered(name) if had_failed(name) || nothing_fails())
            };
            if opens {
                (state, openings, waits, opened_at) = (BreakerState::Open, openings + 1, 0, attempts.len());
            } else if state == BreakerState::HalfOpen
                && (opened_at..attempts.len()).filter(tells).count() >= options.half_open_successes.get() as usize
            {
                state = BreakerState::Closed;
            }
        }
        (state, openings)
    }

    #[test]
    fn after_every_sequence_of_seven_steps_it_is_what_its_definition_says() {
        for (failures, successes) in [(1, 1), (2, 1), (3, 2)] {
            let options = options(failures, successes);
            for number in 0..7_usize.pow(7) {
                let steps: Vec<Step> = (0..7).map(|digit| STEPS[number / 7_usize.pow(digit) % 7]).collect();
                let (mut rules, mut now) = (Rules::new(options), Instant::now());
                for step in &steps {
                    match step {
                        Step::Wait => now += OPEN_FOR / 2,
                        Step::SignOfLife => drop(rules.half_open(now)),
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
        rules.settle(generation, Outcome::Failed(WRITE), now);
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
        rules.settle(first, Outcome::Failed(WRITE), now);
        rules.settle(second, Outcome::Answered(WRITE), now);
        assert_eq!(rules.report(), BreakerReport { state: BreakerState::Open, openings: 1 });
        let probe = rules.admit(now + OPEN_FOR).unwrap();
        rules.settle(third, Outcome::Failed(WRITE), now + OPEN_FOR);
        assert_eq!(rules.report().state, BreakerState::HalfOpen);
        rules.settle(probe, Outcome::Answered(WRITE), now + OPEN_FOR);
        assert_eq!(rules.report(), BreakerReport { state: BreakerState::Closed, openings: 1 });
    }

    #[test]
    fn what_succeeds_between_others_that_fail_neither_keeps_it_closed_nor_closes_it() {
        let (mut rules, now) = (Rules::new(options(2, 1)), Instant::now());
        let mut attempt = |outcome, at| {
            let generation = rules.admit(at).unwrap();
            rules.settle(generation, outcome, at);
            rules.report().state
        };
        let read = Outcome::Answered(READ);
        assert_eq!(attempt(Outcome::Failed(WRITE), now), BreakerState::Closed);
        assert_eq!(attempt(read, now), BreakerState::Closed);
        assert_eq!(attempt(Outcome::Failed(WRITE), now), BreakerState::Open);
        assert_eq!(attempt(read, now + OPEN_FOR), BreakerState::HalfOpen);
        assert_eq!(attempt(Outcome::Answered(WRITE), now + OPEN_FOR), BreakerState::Closed);
    }

    /// What failed besides may be asked again sooner than what keeps failing: closed by it, it opens at the next failure.
    #[test]
    fn closed_by_one_transaction_it_still_knows_how_often_another_failed() {
        let (mut rules, now) = (Rules::new(options(3, 2)), Instant::now());
        let mut attempt = |outcome, at| {
            let generation = rules.admit(at).unwrap();
            rules.settle(generation, outcome, at);
            rules.report().state
        };
        for outcome in [Outcome::Failed(WRITE), Outcome::Failed(WRITE), Outcome::Failed(READ)] {
            attempt(outcome, now);
        }
        assert_eq!(attempt(Outcome::Answered(READ), now + OPEN_FOR), BreakerState::HalfOpen);
        assert_eq!(attempt(Outcome::Answered(READ), now + OPEN_FOR), BreakerState::Closed);
        assert_eq!(attempt(Outcome::Failed(WRITE), now + OPEN_FOR), BreakerState::Open);
        // Now nothing but what fails can close it.
        for _ in 0..3 {
            assert_eq!(attempt(Outcome::Answered(READ), now + 2 * OPEN_FOR), BreakerState::HalfOpen);
        }
        assert_eq!(attempt(Outcome::Answered(WRITE), now + 2 * OPEN_FOR), BreakerState::HalfOpen);
        assert_eq!(attempt(Outcome::Answered(WRITE), now + 2 * OPEN_FOR), BreakerState::Closed);
    }

    #[test]
    fn a_permit_that_is_dropped_frees_the_way_for_another() {
        let breaker = Breaker::new(BreakerOptions { open_for: Duration::ZERO, ..options(1, 1) });
        breaker.admit().unwrap().failed(WRITE, &StoreError::silent());
        drop(breaker.admit().unwrap());
        breaker.admit().unwrap().answered(WRITE);
        assert_eq!(breaker.report(), BreakerReport { state: BreakerState::Closed, openings: 1 });
    }
}
