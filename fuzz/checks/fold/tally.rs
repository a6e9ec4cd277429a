//! An aggregator beside the session's: executions by tool, and nothing of other events.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sessionfold::{
    event::{Body, Event},
    fold::{Aggregator, AggregatorId, Verdict},
};

pub(super) struct Tally;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Count {
    pub(super) executions: u64,
    pub(super) failures: u64,
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
