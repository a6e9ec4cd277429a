//! What agents ask, by the Model Context Protocol: over HTTP at `/mcp`, and on standard input and output.
//!
//! Questions go through a thread, connections and a circuit breaker of their own, in read-only transactions, so many at a
//! time and each within its time.

mod answer;
mod arguments;
mod calls;
mod failure;
mod freshness;
mod http;
mod lag;
mod protocol;
mod questions;
mod source;
mod stdio;
mod tools;

pub(super) use failure::Outcome;
pub(super) use http::routes;
pub(super) use source::Running;
pub use stdio::{StdioError, serve_stdio};

use std::{io, time::Duration};

use rmcp::model::{JsonObject, Tool};
use tokio::sync::Semaphore;

use crate::{
    config::{Config, McpConfig},
    service::open_store_with,
};

use super::reader::Reader;

use answer::Answer;
use calls::CallCounts;
use failure::CallFailure;
use freshness::LastFreshness;
use source::Source;
use tools::ToolName;

/// What agents may ask, and what answers them.
#[derive(Debug)]
pub(super) struct Mcp {
    config: McpConfig,
    /// Those that are offered: the first ones.
    tools: Vec<(ToolName, Tool)>,
    group_id: String,
    reader: Reader,
    source: Source,
    freshness: LastFreshness,
    turns: Semaphore,
    calls: CallCounts,
}

impl Mcp {
    /// Beside a consumer, which tells how far it is behind.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn beside(config: &Config, running: Running) -> io::Result<Self> {
        Self::new(config, Source::Consumer(Box::new(running)))
    }

    /// Without a consumer.
    ///
    /// # Errors
    /// If the system gives no thread.
    fn alone(config: &Config) -> io::Result<Self> {
        Self::new(config, Source::tables(&config.kafka))
    }

    fn new(config: &Config, source: Source) -> io::Result<Self> {
        let max_calls = config.mcp.max_calls.get();
        let store = open_store_with(config, max_calls, config.mcp.timeout);
        let offered = usize::try_from(config.mcp.max_tools.get()).unwrap_or(usize::MAX);
        let tools: Vec<_> = ToolName::ALL.iter().take(offered).map(|tool| (*tool, tool.offered())).collect();
        if tools.len() < ToolName::ALL.len() {
            tracing::warn!(offered = tools.len(), known = ToolName::ALL.len(), "mcp.max_tools leaves tools out");
        }
        Ok(Self {
            config: config.mcp.clone(),
            tools,
            group_id: config.kafka.group_id.clone(),
            reader: Reader::start("mcp-read", store)?,
            source,
            freshness: LastFreshness::default(),
            turns: Semaphore::new(max_calls as usize),
            calls: CallCounts::default(),
        })
    }

    fn tool(&self, name: &str) -> Option<ToolName> {
        ToolName::from_name(name).filter(|tool| self.tools.iter().any(|(offered, _)| offered == tool))
    }

    /// As clients list them.
    fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.tools.iter().map(|(_, offered)| offered)
    }

    /// How the calls of each tool ended so far, and how long they took.
    pub(super) fn calls(&self) -> impl Iterator<Item = (&'static str, calls::OfTool)> {
        self.tools.iter().map(|(tool, _)| (tool.as_str(), self.calls.of(tool.as_str())))
    }

    /// Asks a tool, in its turn and within `mcp.timeout`, and adds how fresh the answer is.
    async fn ask(&self, tool: ToolName, arguments: Option<JsonObject>) -> Result<Answer, CallFailure> {
        let asked = async {
            // The semaphore is never closed.
            let _turn = self.turns.acquire().await.map_err(|_| CallFailure::Cancelled)?;
            // Before, so that the answer is at least as fresh.
            let freshness = self.freshness.get(&self.source, &self.reader, &self.group_id).await;
            tool.ask(self, arguments).await?.with("freshness", freshness)
        };
        tokio::time::timeout(self.timeout(), asked).await.unwrap_or(Err(CallFailure::TooSlow))
    }

    /// Of one call.
    fn timeout(&self) -> Duration {
        self.config.timeout
    }
}
