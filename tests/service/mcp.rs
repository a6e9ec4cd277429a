//! What agents ask by the Model Context Protocol.

mod agent;
mod answers;
mod changes;
mod clients;
mod protocol;
mod refusals;

/// All of them, in the order in which they are offered.
const TOOLS: [&str; 7] =
    ["find_sessions", "get_session", "get_timeline", "tool_usage", "failures", "changed_since", "pipeline_health"];
