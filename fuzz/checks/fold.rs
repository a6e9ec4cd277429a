//! Whatever events come, how often, in which order and in which batches: what batch after batch leaves in a store is
//! the fold of the set of the events.

mod memory;
mod model;
mod script;
mod tally;

use std::collections::BTreeMap;

use sessionfold::{
    event::{Event, EventSetDigest},
    fold::{Aggregators, Convergent, SideAggregators},
};

use super::input::Input;
use memory::Memory;
use script::{Script, Step};
use tally::Tally;

pub fn check(data: &[u8]) {
    let script = Script::read(Input::new(data));
    let aggregators = Aggregators { session: Convergent::default(), sides: SideAggregators::new().with(Tally) };
    let (mut memory, mut applied, mut sent) = (Memory::default(), 0, Vec::new());
    for step in script.steps {
        match step {
            Step::Batch(batch) => {
                applied += memory.take(&aggregators, &batch);
                sent.extend(batch);
            }
            Step::ForgetStates => memory.forget_states(),
            Step::ForgetSides => memory.forget_sides(),
        }
    }
    let set = model::set_of(&sent);
    let distinct: usize = set.values().map(BTreeMap::len).sum();
    assert_eq!(applied, distinct as u64, "an event counts once, however many versions of it come");
    assert_eq!(memory.events, set);

    // What was forgotten is made anew once its session is heard of again, be it by nothing new.
    let heard_again: Vec<Event> = set.values().filter_map(|events| events.values().next()).cloned().collect();
    assert_eq!(memory.take(&aggregators, &heard_again), 0);

    assert_eq!(memory.sessions.len(), set.len());
    for (session_id, events) in &set {
        let folded = memory.sessions[session_id].folded.as_ref().expect("the state was made anew");
        assert_eq!(memory::snapshot(&aggregators, folded, None), model::snapshot(events, None));
        assert_eq!(
            memory::snapshot(&aggregators, folded, Some(script.as_of)),
            model::snapshot(events, Some(script.as_of))
        );
        let mut digest = EventSetDigest::default();
        events.values().for_each(|event| digest.add(event));
        assert_eq!(folded.digest, digest);
        assert_eq!(memory.tallies(session_id), model::tallies(events));
    }
}
