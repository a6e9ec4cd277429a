//! Checks that an aggregator keeps what it promises, on made-up events. For tests; behind the feature `laws`.
//!
//! Each [`Law`] delivers the same events in two ways, through the fold that runs in production and a store in memory,
//! and compares what comes of them. A [`Violation`] shows the smallest events that were found to break the law.
//!
//! ```
//! use std::collections::BTreeMap;
//! use sessionfold::{
//!     event::{Body, Event},
//!     fold::{Aggregator, AggregatorId, Verdict},
//!     laws,
//! };
//!
//! /// How often each tool ran.
//! #[derive(Clone)]
//! struct ToolRuns;
//!
//! impl Aggregator for ToolRuns {
//!     type State = BTreeMap<String, u64>;
//!
//!     fn id(&self) -> AggregatorId {
//!         const { AggregatorId::new("tool_runs", 1) }
//!     }
//!
//!     fn apply(&self, state: &mut Self::State, event: &Event) -> Verdict {
//!         if let Body::Tool(tool) = &event.body {
//!             *state.entry(tool.tool_name.as_str().to_owned()).or_default() += 1;
//!         }
//!         Verdict::Applied
//!     }
//! }
//!
//! // In a test: `laws::Config::default()`.
//! if let Err(violation) = laws::check(ToolRuns, laws::events(), laws::Config::with_cases(100)) {
//!     panic!("{violation}");
//! }
//! ```

mod config;
mod delivery;
mod events;
mod law;
mod memory;
mod subject;
#[cfg(test)]
mod tests;
mod violation;

pub use config::Config;
pub use events::events;
pub use law::Law;
pub use memory::{Memory, NoJson};
pub use violation::Violation;

use proptest::strategy::Strategy;

use crate::{
    event::Event,
    fold::{Aggregator, SessionAggregator},
};

/// Checks an aggregator that runs beside the session's. Its states are compared as JSON, by session and key.
///
/// Copies of an event never reach such an aggregator, so [`Law::Duplication`] checks here the fold before it.
///
/// The events should compete: [`events`] has versions of one event, equal times, and few ids. A strategy of your own
/// is needed only where the aggregator looks at what those events don't vary.
///
/// # Errors
/// The first violation of a law, its events made as few and as simple as proptest finds.
pub fn check<A: Aggregator + Clone>(
    aggregator: A,
    events: impl Strategy<Value = Event>,
    config: Config,
) -> Result<(), Violation> {
    law::check_all(&subject::Side::new(aggregator), Law::OF_ANY, &events, config)
}

/// Checks a session's aggregator. Its snapshots, without a time and as of a time-out, and its states are compared, and
/// the digest of the stored events; and each distinct key must count as applied once.
///
/// # Errors
/// The first violation of a law, its events made as few and as simple as proptest finds.
pub fn check_session<A: SessionAggregator>(
    aggregator: A,
    events: impl Strategy<Value = Event>,
    config: Config,
) -> Result<(), Violation> {
    law::check_all(&subject::Own::new(aggregator), Law::OF_A_SESSION, &events, config)
}
