//! Whatever events come, how often, in which order and in which batches: what batch after batch leaves in a store is
//! the fold of the set of the events.

#[path = "../../tests/properties/model.rs"]
mod model;
mod script;
mod tally;

use sessionfold::{
    event::{Event, SessionId},
    fold::{Aggregators, Convergent, SideAggregators},
    laws::Memory,
};

use super::input::Input;
use script::{Script, Step};
use tally::Tally;

pub fn check(data: &[u8]) {
    let script = Script::read(Input::new(data));
    let aggregators = Aggregators { session: Convergent::default(), sides: SideAggregators::new().with(Tally) };
    let (mut memory, mut applied, mut sent) = (Memory::new(&aggregators), 0, Vec::new());
    for step in script.steps {
        let known: Vec<SessionId> = memory.sessions().cloned().collect();
        match step {
            Step::Batch(batch) => {
                applied += take(&mut memory, &batch);
                sent.extend(batch);
            }
            Step::OutdateSessions => known.iter().for_each(|session_id| memory.outdate_session(session_id)),
            Step::OutdateSides => known.iter().for_each(|session_id| memory.outdate_sides(session_id)),
        }
    }
    let sets = model::sets(&sent);
    let distinct: usize = sets.values().map(Vec::len).sum();
    assert_eq!(applied, distinct as u64, "an event counts once, however many versions of it come");
    assert!(memory.sessions().eq(sets.keys()));
    for (session_id, set) in &sets {
        assert_eq!(sorted(memory.events(session_id)), sorted(set));
    }

    // What was outdated is made anew once its session is heard of again, be it by nothing new.
    let heard_again: Vec<Event> = sets.values().filter_map(|set| set.first()).cloned().collect();
    assert_eq!(take(&mut memory, &heard_again), 0);

    for (session_id, set) in &sets {
        for as_of in [None, Some(script.as_of)] {
            let snapshot = memory.snapshot(session_id, as_of).expect("a state is JSON");
            assert_eq!(snapshot, Some(model::snapshot(&aggregators.session, set, as_of)));
        }
        assert_eq!(memory.digest(session_id), model::digest(set));
        assert_eq!(tally::stored(&memory, session_id), tally::of(set));
    }
}

/// How many events were applied. The others were there already.
fn take(memory: &mut Memory<'_, Convergent>, batch: &[Event]) -> u64 {
    let outcome = memory.take(batch).expect("a state is JSON");
    assert_eq!(outcome.rejected, []);
    assert_eq!(outcome.applied + outcome.duplicates, batch.len() as u64);
    outcome.applied
}

fn sorted<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<&'e Event> {
    let mut events: Vec<&Event> = events.into_iter().collect();
    events.sort_unstable();
    events
}
