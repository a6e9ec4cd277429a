//! An event as it stands on the wire, with null and defaulted members written out.

use serde_json::{Map, Value, json};

use super::{Body, Event, decode::SCHEMA_VERSION, kind::EventKind};

impl Event {
    /// The envelope, as JSON. Decoding it gives this event again, but for its redacted texts: redaction isn't
    /// idempotent, and cutting a preview can make its end look like a secret.
    pub fn to_json(&self) -> Value {
        let payload = self.payload();
        json!({
            "event_type": self.kind().as_str(),
            "schema_version": SCHEMA_VERSION,
            "source": "omniclaude",
            "payload": payload,
        })
    }

    fn payload(&self) -> Map<String, Value> {
        let common = json!({
            "entity_id": self.entity_id,
            "session_id": self.session_id.as_str(),
            "correlation_id": self.correlation_id,
            "causation_id": self.causation_id,
            "emitted_at": self.emitted_at.to_string(),
            "task_id": self.task_id.as_ref().map(|task| task.as_str()),
            "action_description": self.action_description.as_str(),
        });
        let own = match &self.body {
            Body::Started(started) => json!({
                "working_directory": started.working_directory.as_str(),
                "git_branch": started.git_branch.as_ref().map(|branch| branch.as_str()),
                "hook_source": started.hook_source.as_str(),
            }),
            Body::Ended(ended) => json!({
                "reason": ended.reason.as_str(),
                "duration_seconds": ended.duration_seconds.map(|seconds| seconds.get()),
                "tools_used_count": ended.tools_used_count.get(),
            }),
            Body::Prompt(prompt) => json!({
                "prompt_id": prompt.prompt_id,
                "prompt_preview": prompt.prompt_preview.as_str(),
                "prompt_length": prompt.prompt_length.get(),
                "detected_intent": prompt.detected_intent.as_ref().map(|intent| intent.as_str()),
            }),
            Body::Tool(tool) => json!({
                "tool_execution_id": tool.tool_execution_id,
                "tool_name": tool.tool_name.as_str(),
                "success": tool.success,
                "duration_ms": tool.duration_ms.map(|millis| millis.get()),
                "summary": tool.summary.as_ref().map(|summary| summary.as_str()),
            }),
        };
        [common, own]
            .into_iter()
            .filter_map(|part| if let Value::Object(map) = part { Some(map) } else { None })
            .flatten()
            .collect()
    }
}

impl EventKind {
    /// The topic that the deployment reads this kind from, unless it is configured otherwise.
    pub fn default_topic(self) -> &'static str {
        match self {
            EventKind::Started => "dev.omniclaude.session.started.v1",
            EventKind::Ended => "dev.omniclaude.session.ended.v1",
            EventKind::Prompt => "dev.omniclaude.prompt.submitted.v1",
            EventKind::Tool => "dev.omniclaude.tool.executed.v1",
        }
    }
}
