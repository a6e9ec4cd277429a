//! The fold of batches, however they are cut and ordered, is the fold of the set.

use proptest::{prelude::*, sample::Index};
use sessionfold::{
    event::{Event, EventTime, SessionId},
    fold::{Aggregators, Convergent},
    laws::{Memory, events},
};

use crate::{config, model};

/// What reaches the fold: the events, some of them again, and where batches end.
#[derive(Clone, Debug)]
struct Sent {
    events: Vec<Event>,
    ends: Vec<usize>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let again = prop::collection::vec(any::<Index>(), 0..8);
    let cuts = prop::collection::vec(any::<Index>(), 0..5);
    (prop::collection::vec(events(), 1..16), again, cuts).prop_map(|(mut events, again, cuts)| {
        let copies: Vec<Event> = again.iter().map(|index| index.get(&events).clone()).collect();
        events.extend(copies);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(events.len())).chain([events.len()]).collect();
        ends.sort_unstable();
        Sent { events, ends }
    })
}

impl Sent {
    /// How many events were applied, and what is stored then.
    fn fold<'a>(&self, aggregators: &'a Aggregators<Convergent>) -> (u64, Memory<'a, Convergent>) {
        let (mut memory, mut begin, mut applied) = (Memory::new(aggregators), 0, 0);
        for &end in &self.ends {
            applied += memory.take(&self.events[begin..end]).unwrap().applied;
            begin = end;
        }
        (applied, memory)
    }
}

fn seconds_after_midnight(seconds: i64) -> EventTime {
    let midnight = EventTime::parse("2026-03-01T00:00:00Z").unwrap();
    EventTime::from_utc(midnight.as_utc() + chrono::TimeDelta::seconds(seconds)).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_order_any_duplicates_and_any_batches_give_the_snapshots_of_the_sets(
        sent in sent(),
        as_of in prop::option::of(-100..8_000_i64),
    ) {
        let aggregators = Aggregators::new(Convergent::default());
        let as_of = as_of.map(seconds_after_midnight);
        let (_, memory) = sent.fold(&aggregators);
        let sets = model::sets(&sent.events);
        prop_assert_eq!(memory.sessions().cloned().collect::<Vec<SessionId>>(), sets.keys().cloned().collect::<Vec<_>>());
        for (session, set) in &sets {
            let expected = model::snapshot(&aggregators.session, set, as_of);
            prop_assert_eq!(memory.snapshot(session, as_of).unwrap(), Some(expected));
        }
    }

    #[test]
    fn the_events_stored_are_those_that_stand_and_the_digest_is_theirs(sent in sent()) {
        let aggregators = Aggregators::new(Convergent::default());
        let (applied, memory) = sent.fold(&aggregators);
        let sets = model::sets(&sent.events);
        for (session, set) in &sets {
            let mut stored: Vec<Event> = memory.events(session).cloned().collect();
            stored.sort_unstable();
            let mut expected = set.clone();
            expected.sort_unstable();
            prop_assert_eq!(stored, expected);
            prop_assert_eq!(memory.digest(session), model::digest(set));
        }
        let distinct: usize = sets.values().map(Vec::len).sum();
        prop_assert_eq!(applied, distinct as u64, "an event counts once, however many versions of it come");
    }
}
