//! An aggregator that chooses keys, for the tests of more than one suite.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sessionfold::{
    event::{Body, Event, Position},
    fold::{Aggregator, AggregatorId, Verdict},
};

/// A state for each tool: executions, and how the first one went.
#[derive(Clone)]
pub struct ByTool;

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct ToolState {
    executions: u64,
    first: Option<(Position, bool)>,
}

impl Aggregator for ByTool {
    type State = ToolState;

    fn id(&self) -> AggregatorId {
        const { AggregatorId::new("by_tool", 1) }
    }

    fn key<'e>(&self, event: &'e Event) -> Option<Cow<'e, str>> {
        match &event.body {
            Body::Tool(tool) => Some(Cow::Borrowed(tool.tool_name.as_str())),
            _ => None,
        }
    }

    fn apply(&self, state: &mut ToolState, event: &Event) -> Verdict {
        let Body::Tool(tool) = &event.body else { return Verdict::Duplicate };
        state.executions += 1;
        let position = event.position();
        if state.first.is_none_or(|(first, _)| position < first) {
            state.first = Some((position, tool.success));
        }
        Verdict::Applied
    }
}
