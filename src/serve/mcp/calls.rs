//! How often which tool was called, how it ended, and how long it took.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::failure::Outcome;

/// By tool, and by outcome.
#[derive(Debug, Default)]
pub(in crate::serve) struct CallCounts(Mutex<BTreeMap<&'static str, OfTool>>);

/// The calls of one tool.
#[derive(Clone, Debug, Default)]
pub(in crate::serve) struct OfTool {
    pub(in crate::serve) outcomes: BTreeMap<Outcome, u64>,
    /// Spent on all of them, with the wait for their turns.
    pub(in crate::serve) time: Duration,
}

impl CallCounts {
    pub(in crate::serve) fn of(&self, tool: &str) -> OfTool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tool).cloned().unwrap_or_default()
    }

    pub(super) fn add(&self, tool: &'static str, outcome: Outcome, time: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tool = counts.entry(tool).or_default();
        *of_tool.outcomes.entry(outcome).or_default() += 1;
        of_tool.time += time;
    }
}
