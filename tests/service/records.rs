//! Records made by hand, for tests that ask about certain events.

use serde_json::{Value, json};
use sessionfold::{event::EventKind, generate::GeneratedRecord};

/// An event of the year 2026. All its ids are made of `id`; `fields` are those of its kind.
pub fn record(kind: EventKind, session: &str, id: u8, emitted_at: &str, fields: Value) -> GeneratedRecord {
    let id = format!("00000000-0000-0000-0000-000000000{id:03}");
    let mut payload = json!({
        "session_id": session, "emitted_at": emitted_at, "entity_id": id, "correlation_id": id, "causation_id": id,
    });
    match kind {
        EventKind::Prompt => payload["prompt_id"] = id.into(),
        EventKind::Tool => payload["tool_execution_id"] = id.into(),
        EventKind::Started | EventKind::Ended => {}
    }
    for (name, value) in fields.as_object().unwrap() {
        payload[name] = value.clone();
    }
    let value = json!({"event_type": kind.as_str(), "payload": payload});
    GeneratedRecord {
        kind,
        key: session.as_bytes().to_vec(),
        value: Some(value.to_string().into_bytes()),
        headers: Vec::new(),
        timestamp_millis: 4_000_000_000_000,
        intended: None,
    }
}

pub fn started(session: &str, id: u8, emitted_at: &str) -> GeneratedRecord {
    let fields = json!({"working_directory": "/work", "hook_source": "startup"});
    record(EventKind::Started, session, id, emitted_at, fields)
}

pub fn prompt(session: &str, id: u8, emitted_at: &str) -> GeneratedRecord {
    record(EventKind::Prompt, session, id, emitted_at, json!({"prompt_preview": "do it", "prompt_length": 5}))
}

pub fn tool(session: &str, id: u8, emitted_at: &str, name: &str) -> GeneratedRecord {
    record(EventKind::Tool, session, id, emitted_at, json!({"tool_name": name}))
}

pub fn ended(session: &str, id: u8, emitted_at: &str) -> GeneratedRecord {
    record(EventKind::Ended, session, id, emitted_at, json!({"reason": "other", "tools_used_count": 0}))
}
