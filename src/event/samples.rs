//! An event for tests that care about its session and its body alone.

use uuid::Uuid;

use super::{Body, Event, EventTime, RedactedText, SessionId};

pub(crate) fn event(session: &str, body: Body) -> Event {
    Event {
        session_id: SessionId::parse(session).unwrap(),
        entity_id: Uuid::nil(),
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        emitted_at: EventTime::parse("2026-03-01T00:00:00Z").unwrap(),
        task_id: None,
        action_description: RedactedText::of(""),
        body,
    }
}
