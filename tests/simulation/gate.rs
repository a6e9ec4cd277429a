//! Where a member's calls of the store wait until the schedule says what becomes of them.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::poll_fn,
    task::Poll,
};

use proptest::prelude::*;
use sessionfold::store::{Failure, StoreError};

/// What a member asks of the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call {
    Checkpoints,
    CreateCheckpoints,
    Standing,
    FinishFold,
    Commit,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Proceed,
    Unavailable,
    Contention,
    StatementTimeout,
    /// It happened, but the answer was lost.
    AnswerLost,
    /// It did not happen, and that isn't known.
    RequestLost,
    /// The answer is lost; the commit happens later, but before anything else is written.
    Late,
    /// Another writer changes the same sessions just before.
    Conflict,
    /// It happened, and the process dies before it hears of it.
    Deadly,
}

impl Outcome {
    pub fn strategy() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            20 => Just(Outcome::Proceed),
            1 => Just(Outcome::Unavailable),
            1 => Just(Outcome::Contention),
            2 => Just(Outcome::StatementTimeout),
            3 => Just(Outcome::AnswerLost),
            2 => Just(Outcome::RequestLost),
            2 => Just(Outcome::Late),
            2 => Just(Outcome::Conflict),
            1 => Just(Outcome::Deadly),
        ]
    }

    /// The failure of a call that did not happen, or of one that only reads and whose answer is lost.
    pub fn failure(self, call: Call) -> Option<StoreError> {
        let failure = match self {
            Outcome::Proceed | Outcome::Conflict | Outcome::Deadly => return None,
            Outcome::AnswerLost | Outcome::RequestLost | Outcome::Late if call == Call::Commit => Failure::InDoubt,
            Outcome::Contention => Failure::Contention,
            _ => Failure::Unavailable,
        };
        let mut error = StoreError::new(failure, format!("{call:?}: {self:?}"));
        if self == Outcome::StatementTimeout {
            error.sqlstate = Some("57014".into());
        }
        Some(error)
    }
}

/// One member's gate. Its lanes may wait there side by side; they pass one after the other.
#[derive(Default)]
pub struct Gate {
    waiting: RefCell<VecDeque<(u64, Call)>>,
    last_number: Cell<u64>,
    released: Cell<Option<Outcome>>,
}

impl Gate {
    /// The call that waits in front, if one does.
    pub fn waiting(&self) -> Option<Call> {
        self.waiting.borrow().front().map(|(_, call)| *call)
    }

    /// Whether a call waits whose batch was folded by what was read before.
    pub fn is_between_reading_and_writing(&self) -> bool {
        self.waiting.borrow().iter().any(|(_, call)| matches!(call, Call::FinishFold | Call::Commit))
    }

    pub fn release(&self, outcome: Outcome) {
        self.released.set(Some(outcome));
    }

    /// Waits for the schedule.
    pub async fn pass(&self, call: Call) -> Outcome {
        let place = self.queue(call);
        let is_in_front = || self.waiting.borrow().front().is_some_and(|(number, _)| *number == place.number);
        let released = || if is_in_front() { self.released.take() } else { None };
        poll_fn(|_| released().map_or(Poll::Pending, Poll::Ready)).await
    }

    fn queue(&self, call: Call) -> Place<'_> {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        self.waiting.borrow_mut().push_back((number, call));
        Place { gate: self, number }
    }
}

/// A place in the queue, given up when the call has passed or was dropped.
struct Place<'g> {
    gate: &'g Gate,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.waiting.borrow_mut().retain(|(number, _)| *number != self.number);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Proceed => "proceeds",
            Outcome::Unavailable => "finds the store away",
            Outcome::Contention => "meets contention",
            Outcome::StatementTimeout => "takes too long",
            Outcome::AnswerLost => "happens, but its answer is lost",
            Outcome::RequestLost => "doesn't happen, and nobody knows",
            Outcome::Late => "gets no answer, and happens later",
            Outcome::Conflict => "comes second to another writer of its sessions",
            Outcome::Deadly => "happens, and the process dies",
        })
    }
}
