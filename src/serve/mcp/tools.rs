//! The tools that are offered, in the order in which `mcp.max_tools` cuts them.

use std::{collections::BTreeSet, sync::Arc};

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::event::wire_names;

use super::{
    Mcp,
    answer::Answer,
    arguments::{self, read},
    failure::CallFailure,
    questions,
};

wire_names! {
    /// What can be asked.
    ToolName {
        FindSessions = "find_sessions",
        GetSession = "get_session",
        GetTimeline = "get_timeline",
        ToolUsage = "tool_usage",
        Failures = "failures",
        ChangedSince = "changed_since",
        PipelineHealth = "pipeline_health",
    }
}

/// What the tools answer, as JSON Schema: those of the HTTP API, which tests hold against its answers, and these.
const ANSWERS: &str = include_str!("answers.json");

impl ToolName {
    fn title(self) -> &'static str {
        match self {
            Self::FindSessions => "Find sessions",
            Self::GetSession => "Get a session",
            Self::GetTimeline => "Get a session's timeline",
            Self::ToolUsage => "Tool usage",
            Self::Failures => "Failed tool executions",
            Self::ChangedSince => "Sessions that changed",
            Self::PipelineHealth => "Pipeline health",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::FindSessions => {
                "Finds sessions of coding agents by status, working directory, git branch, time of the last event, or a \
                 tool they used; a row each with counts of prompts, tools and failures. Paged."
            }
            Self::GetSession => {
                "One session: its row, its first and last prompts, its last failed tool executions, and its last change \
                 of status."
            }
            Self::GetTimeline => {
                "What happened in one session, in order: starts, prompts, tool executions, ends, and changes of its \
                 status. Paged."
            }
            Self::ToolUsage => {
                "How often which tool was executed in a stretch of time: calls, failures, success rate, sessions, and \
                 durations in milliseconds (median, 95th percentile, greatest)."
            }
            Self::Failures => {
                "Tool executions that failed in a stretch of time, over all sessions, newest first. Paged."
            }
            Self::ChangedSince => {
                "Sessions whose row changed since a time or since an earlier answer. Its `next` is always there: ask \
                 with it at once while `more` is true, then again later. A session may be told twice; its `version` \
                 tells."
            }
            Self::PipelineHealth => {
                "Whether the tables are kept up to date: lag by partition, halted partitions, circuit breaker, open dead \
                 letters, last commit, and the sweep that times sessions out."
            }
        }
    }

    fn arguments(self) -> JsonObject {
        match self {
            Self::FindSessions => schema::<arguments::FindSessions>(),
            Self::GetSession => schema::<arguments::GetSession>(),
            Self::GetTimeline => schema::<arguments::GetTimeline>(),
            Self::ToolUsage => schema::<arguments::ToolUsage>(),
            Self::Failures => schema::<arguments::Failures>(),
            Self::ChangedSince => schema::<arguments::ChangedSince>(),
            Self::PipelineHealth => schema::<arguments::PipelineHealth>(),
        }
    }

    /// As a client lists it.
    pub(super) fn offered(self) -> Tool {
        let annotations = ToolAnnotations::new().read_only(true).destructive(false).idempotent(true).open_world(false);
        Tool::new(self.as_str(), self.description(), Arc::new(self.arguments()))
            .with_title(self.title())
            .with_raw_output_schema(Arc::new(answers(self)))
            .with_annotations(annotations)
    }

    /// Asks it.
    pub(super) async fn ask(self, mcp: &Mcp, arguments: Option<JsonObject>) -> Result<Answer, CallFailure> {
        match self {
            Self::FindSessions => questions::find_sessions(mcp, read(arguments)?).await,
            Self::GetSession => questions::get_session(mcp, read(arguments)?).await,
            Self::GetTimeline => questions::get_timeline(mcp, read(arguments)?).await,
            Self::ToolUsage => questions::tool_usage(mcp, read(arguments)?).await,
            Self::Failures => questions::failures(mcp, read(arguments)?).await,
            Self::ChangedSince => questions::changed_since(mcp, read(arguments)?).await,
            Self::PipelineHealth => questions::pipeline_health(mcp, read(arguments)?).await,
        }
    }
}

fn schema<T: JsonSchema>() -> JsonObject {
    let mut schema = schemars::schema_for!(T).to_value();
    for property in schema["properties"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        allow_only_to_leave_out(property);
    }
    let object = schema.as_object_mut().map(std::mem::take).unwrap_or_default();
    // The type's own name and comment are for its readers.
    object.into_iter().filter(|(key, _)| !["title", "description"].contains(&key.as_str())).collect()
}

/// Null is taken for a missing argument, but told to nobody: not all who hand schemas to models know of types with it.
fn allow_only_to_leave_out(property: &mut Value) {
    let Some(members) = property.as_object_mut() else { return };
    members.retain(|name, value| !(name == "default" && value.is_null()));
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|of| of != "null");
        if let [only] = types.as_mut_slice() {
            let only = only.take();
            members.insert("type".to_owned(), only);
        }
    }
}

/// The schema of a tool's answers, with the definitions that it refers to.
fn answers(tool: ToolName) -> JsonObject {
    // Parts of the program, which a test reads.
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (mut all, mut api) = (parsed(ANSWERS), parsed(super::super::OPENAPI));
    let mut own = all["tools"][tool.as_str()].take();
    let properties = json!({
        "cut": {"type": "integer", "description": "How many texts and maps of the answer were shortened."},
        "correlation_id": {"type": "string", "format": "uuid"},
        "freshness": {"$ref": "#/$defs/Freshness"},
    });
    for (name, property) in properties.as_object().into_iter().flatten() {
        own["properties"][name] = property.clone();
    }
    let required =
        own["properties"].as_object().into_iter().flatten().map(|(name, _)| name).filter(|name| *name != "cut");
    own["required"] = required.cloned().collect();
    own["type"] = json!("object");
    let mut known = api["components"]["schemas"].take();
    if let (Some(known), Value::Object(more)) = (known.as_object_mut(), all["$defs"].take()) {
        known.extend(more);
    }
    relocate(&mut known);
    own["$defs"] = Value::Object(reached(&own, &known));
    if let Value::Object(own) = own { own } else { Map::new() }
}

const IN_API: &str = "#/components/schemas/";
const HERE: &str = "#/$defs/";

/// Lets references lead to where definitions are here.
fn relocate(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref") {
                *reference = reference.replace(IN_API, HERE);
            }
            members.values_mut().for_each(relocate);
        }
        Value::Array(items) => items.iter_mut().for_each(relocate),
        _ => {}
    }
}

/// The definitions that a schema refers to, and that these refer to.
fn reached(schema: &Value, known: &Value) -> Map<String, Value> {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                let name = members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(HERE));
                found.extend(name.map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let (mut found, mut definitions) = (BTreeSet::new(), Map::new());
    references(schema, &mut found);
    while let Some(name) = found.pop_first() {
        if !definitions.contains_key(&name) {
            references(&known[&name], &mut found);
            definitions.insert(name.clone(), known[&name].clone());
        }
    }
    definitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_has_a_closed_schema_of_what_it_takes_and_a_schema_of_what_it_answers() {
        for tool in ToolName::ALL {
            let offered = tool.offered();
            let arguments = &offered.input_schema;
            assert_eq!(arguments["type"], "object", "{tool}");
            assert_eq!(arguments["additionalProperties"], false, "{tool}");
            for (name, property) in arguments["properties"].as_object().unwrap() {
                assert!(
                    property["description"].is_string() && property["type"].is_string(),
                    "{tool} {name}: {property}"
                );
                assert!(!property.to_string().contains("null"), "{tool} {name}: {property}");
            }
            let answers = offered.output_schema.unwrap();
            let text = serde_json::to_string(&answers).unwrap();
            assert!(!text.contains(IN_API), "{tool}");
            for definition in answers["$defs"].as_object().unwrap().values() {
                assert!(definition.is_object(), "{tool}: a definition is missing");
            }
            assert!(answers["required"].as_array().unwrap().contains(&json!("freshness")), "{tool}");
            assert!(answers["properties"].as_object().unwrap().len() > 3, "{tool}");
        }
    }
}
