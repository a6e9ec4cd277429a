//! Which tools fail where: the share of failing executions by tool and working directory, by day.
//!
//! `cargo run --example failing_tools -- run --drain` is the whole program, with this aggregator beside the sessions'.

use std::{collections::BTreeMap, process::ExitCode};

use serde::{Deserialize, Serialize};
use sessionfold::{
    event::{Body, Event, Position, Text},
    fold::{Aggregator, AggregatorId, SideAggregators, Verdict},
};

fn main() -> ExitCode {
    sessionfold::cli::main(SideAggregators::new().with(FailingTools))
}

#[derive(Clone)]
pub struct FailingTools;

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct SessionTools {
    /// With its working directory.
    first_start: Option<(Position, Text)>,
    /// By day, then by tool.
    days: BTreeMap<String, BTreeMap<String, Tally>>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Tally {
    executions: u64,
    failures: u64,
}

impl Aggregator for FailingTools {
    type State = SessionTools;

    fn id(&self) -> AggregatorId {
        const { AggregatorId::new("failing_tools", 1) }
    }

    fn apply(&self, state: &mut SessionTools, event: &Event) -> Verdict {
        let position = event.position();
        match &event.body {
            // The first by its position, not by its arrival: then the order doesn't matter.
            Body::Started(started) if state.first_start.as_ref().is_none_or(|(first, _)| position < *first) => {
                state.first_start = Some((position, started.working_directory.clone()));
            }
            Body::Tool(tool) => {
                let day = state.days.entry(event.emitted_at.as_utc().date_naive().to_string()).or_default();
                let tally = day.entry(tool.tool_name.as_str().to_owned()).or_default();
                tally.executions += 1;
                tally.failures += u64::from(!tool.success);
            }
            _ => return Verdict::Duplicate, // It says nothing about tools.
        }
        Verdict::Applied
    }
}
