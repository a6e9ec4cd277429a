//! The laws: two deliveries of the same events, of which the same must come.

use std::{
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use proptest::{
    collection::vec,
    strategy::Strategy,
    test_runner::{Config as RunnerConfig, TestCaseError, TestError, TestRunner},
};

use crate::event::Event;

use super::{
    config::Config,
    delivery::{Delivery, Resume},
    memory::NoJson,
    subject::Subject,
    violation::{Difference, Violation},
};

/// What must make no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// A state's way through JSON.
    Serialisation,
    /// The order of the events.
    Permutation,
    /// Events that come again.
    Duplication,
    /// Where batches end.
    Batching,
    /// What is stored already, and whether it is carried on from its state or folded again from its events.
    Merging,
    /// Each distinct key counts as applied once.
    Counting,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Law::Serialisation => "serialisation: a state that went through JSON is not the state that it was",
            Law::Permutation => "permutation: the same events in another order come to something else",
            Law::Duplication => "duplication: with some of the events twice, it comes to something else",
            Law::Batching => "batching: in other batches, the same events come to something else",
            Law::Merging => "merging: merged with what is stored, the same events come to something else",
            Law::Counting => "counting: not each distinct key counts as applied once",
        })
    }
}

/// An event, and a number that says what becomes of it in the second delivery; 0 leaves it as it is. Each event
/// carries its own number, so that proptest can take out any event without disturbing the others.
type Sent = (Event, u8);

impl Law {
    pub(super) const OF_ANY: &[Law] =
        &[Law::Serialisation, Law::Permutation, Law::Duplication, Law::Batching, Law::Merging];
    pub(super) const OF_A_SESSION: &[Law] =
        &[Law::Serialisation, Law::Permutation, Law::Duplication, Law::Batching, Law::Merging, Law::Counting];

    /// The numbers that it gives to events.
    fn numbers(self) -> std::ops::RangeInclusive<u8> {
        match self {
            Law::Permutation => 0..=u8::MAX,
            Law::Duplication | Law::Counting => 0..=5,
            Law::Serialisation | Law::Batching => 0..=1,
            Law::Merging => 0..=2,
        }
    }

    /// The same events, delivered otherwise.
    fn otherwise(self, sent: &[Sent]) -> Delivery {
        let events = sent.iter().map(|(event, number)| (event.clone(), *number));
        match self {
            Law::Permutation => {
                let mut ranked: Vec<Sent> = events.collect();
                ranked.sort_by_key(|(_, rank)| *rank);
                Delivery::in_one_batch(ranked.into_iter().map(|(event, _)| event))
            }
            Law::Duplication => Delivery::in_one_batch(with_copies(sent)),
            Law::Serialisation | Law::Batching => {
                Delivery::cut(events.map(|(event, cut)| (event, (cut == 1).then_some(Resume::Carry))))
            }
            Law::Merging => Delivery::cut(events.map(|(event, cut)| {
                let resume = if cut == 1 { Resume::Carry } else { Resume::Refold };
                (event, (cut > 0).then_some(resume))
            })),
            // Some copies come in one batch with the event, some in the next.
            Law::Counting => {
                let events = with_copies(sent).into_iter().enumerate();
                Delivery::cut(events.map(|(index, event)| (event, (index % 3 == 2).then_some(Resume::Carry))))
            }
        }
    }

    /// What the law forbids and the deliveries show.
    fn compare(self, subject: &impl Subject, plain: &Delivery, otherwise: &Delivery) -> Option<Difference> {
        let compare = || -> Result<Option<Difference>, NoJson> {
            let (one, other) = match self {
                Law::Counting => {
                    let (applied, distinct) = (subject.deliver(otherwise)?.0, otherwise.distinct());
                    return Ok((applied != distinct).then_some(Difference::Counts { applied, distinct }));
                }
                Law::Serialisation => (subject.apply(plain)?, subject.apply(otherwise)?),
                _ => (subject.deliver(plain)?.1, subject.deliver(otherwise)?.1),
            };
            Ok((one != other).then_some(Difference::Results { one, other }))
        };
        compare().unwrap_or_else(|error| Some(Difference::Failure(error.to_string())))
    }

    fn check(
        self,
        subject: &impl Subject,
        events: &impl Strategy<Value = Event>,
        config: Config,
    ) -> Result<(), Violation> {
        let runner = RunnerConfig {
            cases: config.cases,
            // Nobody's source file: the events that broke a law are in the violation.
            failure_persistence: None,
            max_shrink_iters: 20_000,
            ..RunnerConfig::default()
        };
        let (cases, failed) = (Cell::new(0), Cell::new(false));
        let sent = vec((events, self.numbers()), 1..=config.max_events.max(1));
        let tried = TestRunner::new(runner).run(&sent, |sent| {
            cases.set(cases.get() + u32::from(!failed.get()));
            // A panic leaves it so.
            let before = failed.replace(true);
            if self.compare(subject, &plain(&sent), &self.otherwise(&sent)).is_some() {
                return Err(TestCaseError::fail("it makes a difference"));
            }
            failed.set(before);
            Ok(())
        });
        match tried {
            Ok(()) => Ok(()),
            Err(TestError::Fail(reason, sent)) => Err(self.violation(subject, sent, cases.get(), reason.message())),
            Err(TestError::Abort(reason)) => Err(self.violation(subject, Vec::new(), cases.get(), reason.message())),
        }
    }

    /// Takes out what is left too much. proptest takes out events before it makes the others simpler, so that one which
    /// was needed then may not be in the end. An event that is there for its number alone leaves it to the one before.
    fn without_needless(self, subject: &impl Subject, mut sent: Vec<Sent>) -> Vec<Sent> {
        let breaks = |sent: &[Sent]| {
            let compare = || self.compare(subject, &plain(sent), &self.otherwise(sent)).is_some();
            catch_unwind(AssertUnwindSafe(compare)).unwrap_or(true)
        };
        let mut index = 0;
        while index < sent.len() {
            let mut fewer = sent.clone();
            let (_, number) = fewer.remove(index);
            let mut handed_on = fewer.clone();
            if let Some((_, before)) = index.checked_sub(1).and_then(|before| handed_on.get_mut(before)) {
                *before = number;
            }
            match [fewer, handed_on].into_iter().find(|fewer| breaks(fewer)) {
                Some(fewer) => (sent, index) = (fewer, 0),
                None => index += 1,
            }
        }
        sent
    }

    fn violation(self, subject: &impl Subject, sent: Vec<Sent>, cases: u32, reason: &str) -> Violation {
        let sent = self.without_needless(subject, sent);
        let (plain, otherwise) = (plain(&sent), self.otherwise(&sent));
        let again = catch_unwind(AssertUnwindSafe(|| self.compare(subject, &plain, &otherwise)));
        let difference = again.ok().flatten().unwrap_or_else(|| Difference::Failure(reason.to_owned()));
        Violation { law: self, cases, plain, otherwise, difference }
    }
}

fn plain(sent: &[Sent]) -> Delivery {
    Delivery::in_one_batch(sent.iter().map(|(event, _)| event.clone()))
}

/// Each event, and its copy as many places later as its number says.
fn with_copies(sent: &[Sent]) -> Vec<Event> {
    let originals = sent.iter().enumerate().map(|(index, (event, _))| (index, event));
    let copied = sent.iter().enumerate().filter(|(_, (_, delay))| *delay > 0);
    let copies = copied.map(|(index, (event, delay))| (index + usize::from(*delay) - 1, event));
    let mut placed: Vec<(usize, &Event)> = originals.chain(copies).collect();
    // Stable: a copy comes after the original of the same place.
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, event)| event.clone()).collect()
}

pub(super) fn check_all(
    subject: &impl Subject,
    laws: &[Law],
    events: &impl Strategy<Value = Event>,
    config: Config,
) -> Result<(), Violation> {
    laws.iter().try_for_each(|law| law.check(subject, events, config))
}
