//! A small aggregator beside the session's: how many prompts and executions came, by the text that is their key.

use std::{borrow::Cow, collections::BTreeMap};

use sessionfold::{
    event::{Body, Event, EventKey, SessionId},
    fold::{Aggregator, AggregatorId, Aggregators, Convergent, SideAggregators, Verdict},
};

use crate::tables::Tables;

struct Tally;

impl Aggregator for Tally {
    type State = (u64, i64);

    fn id(&self) -> AggregatorId {
        const { AggregatorId::new("tally", 1) }
    }

    fn key<'e>(&self, event: &'e Event) -> Option<Cow<'e, str>> {
        match &event.body {
            Body::Prompt(_) => Some(Cow::Borrowed("prompts")),
            Body::Tool(tool) => Some(Cow::Borrowed(tool.tool_name.as_str())),
            Body::Started(_) | Body::Ended(_) => None,
        }
    }

    fn apply(&self, state: &mut (u64, i64), event: &Event) -> Verdict {
        state.0 += 1;
        state.1 += event.emitted_at.micros_since_epoch() / 1_000_000;
        Verdict::Applied
    }
}

pub fn aggregators() -> Aggregators<Convergent> {
    Aggregators { session: Convergent::default(), sides: SideAggregators::new().with(Tally) }
}

/// Whether the stored states are the folds of the sets, where there is a tally at all.
pub fn check(sets: &BTreeMap<SessionId, BTreeMap<EventKey, Event>>, tables: &Tables) -> Result<(), String> {
    let mut expected: BTreeMap<(SessionId, String, String), (u64, i64)> = BTreeMap::new();
    for (session, events) in sets {
        let name = Tally.id().name();
        let is_kept = tables.sessions.get(session).is_some_and(|row| row.sides.contains(&Tally.id().to_string()));
        for event in events.values().filter(|_| is_kept) {
            if let Some(key) = Tally.key(event) {
                let place = (session.clone(), name.to_owned(), key.into_owned());
                let _ = Tally.apply(expected.entry(place).or_default(), event);
            }
        }
    }
    let stored = tables.aggregates.iter().map(|(place, state)| (place.clone(), serde_json::from_str(state).unwrap()));
    if stored.collect::<BTreeMap<_, _>>() == expected {
        Ok(())
    } else {
        Err("the states beside the sessions are not the folds of their sets".to_owned())
    }
}
