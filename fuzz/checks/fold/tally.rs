//! An aggregator beside the session's: executions by tool, and nothing of other events.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use sessionfold::{
    event::{Body, Event, SessionId},
    fold::{Aggregator, AggregatorId, Convergent, Verdict},
    laws::Memory,
};

pub(super) struct Tally;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Count {
    executions: u64,
    failures: u64,
}

impl Aggregator for Tally {
    type State = Count;

    fn id(&self) -> AggregatorId {
        const { AggregatorId::new("tally", 1) }
    }

    fn key<'e>(&self, event: &'e Event) -> Option<Cow<'e, str>> {
        match &event.body {
            Body::Tool(tool) => Some(tool.tool_name.as_str().into()),
            _ => None,
        }
    }

    fn apply(&self, state: &mut Count, event: &Event) -> Verdict {
        if let Body::Tool(tool) = &event.body {
            state.executions += 1;
            state.failures += u64::from(!tool.success);
        }
        Verdict::Applied
    }
}

/// A session's tallies in the store.
pub(super) fn stored(memory: &Memory<'_, Convergent>, session_id: &SessionId) -> BTreeMap<String, Count> {
    let of_session = memory.aggregates().filter(|(session, ..)| *session == session_id);
    let read = of_session.map(|(_, _, key, state)| (key.to_owned(), Count::deserialize(state).expect("a tally")));
    read.collect()
}

/// The tallies of a set of events, from the definition.
pub(super) fn of(set: &[Event]) -> BTreeMap<String, Count> {
    let mut tallies: BTreeMap<String, Count> = BTreeMap::new();
    for event in set {
        let Body::Tool(tool) = &event.body else { continue };
        let count = tallies.entry(tool.tool_name.as_str().to_owned()).or_default();
        count.executions += 1;
        count.failures += if tool.success { 0 } else { 1 };
    }
    tallies
}
