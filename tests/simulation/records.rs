//! The records that schedules produce. Small ranges everywhere, so that keys collide, times tie, versions of one event
//! compete, and sessions spread over partitions.

use std::fmt;

use proptest::prelude::*;
use sessionfold::{
    event::{
        Body, BoundedText, Count, EndReason, Ended, Event, EventTime, HookSource, Prompt, RecordTimestamp,
        RedactedText, SessionId, Started, Tool,
    },
    record::Record,
};
use uuid::Uuid;

/// The name of the tool whose executions the store refuses, as Postgres refuses data that it can't hold.
pub const UNSTORABLE_TOOL: &str = "unstorable";

/// The kind of event that the configuration says to count and skip.
pub const IGNORED_KIND: &str = "hook.ignored";

/// Long after all events.
const RECORD_MILLIS: i64 = (START + 1_000_000) * 1_000;
const START: i64 = 1_772_355_600;

/// An instant of the simulation.
pub fn at(seconds: i64) -> EventTime {
    EventTime::from_utc(chrono::DateTime::from_timestamp(START + seconds, 0).unwrap()).unwrap()
}

pub fn session_id(number: u8) -> SessionId {
    SessionId::parse(&format!("s{number}")).unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Started,
    Ended,
    Prompt,
    Tool,
    /// A tool execution that the store refuses.
    Unstorable,
    /// No event at all.
    Bad,
    /// Of a kind that the configuration says to count and skip.
    Ignored,
}

/// A record in few words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordSpec {
    pub kind: Kind,
    pub session: u8,
    /// Of the prompt, the execution or the cause: with the kind, which event it is.
    pub id: u8,
    pub second: u8,
}

impl RecordSpec {
    pub fn strategy() -> impl Strategy<Value = RecordSpec> {
        let kind = prop_oneof![
            4 => Just(Kind::Prompt),
            4 => Just(Kind::Tool),
            2 => Just(Kind::Started),
            2 => Just(Kind::Ended),
            1 => Just(Kind::Bad),
            1 => Just(Kind::Ignored),
            1 => Just(Kind::Unstorable),
        ];
        (kind, 0..2_u8, 0..4_u8, 0..150_u8).prop_map(|(kind, session, id, second)| Self { kind, session, id, second })
    }

    pub fn record(self) -> Record {
        let value = match self.event() {
            Some(event) => event.to_json().to_string(),
            None if self.kind == Kind::Ignored => format!(r#"{{"event_type": "{IGNORED_KIND}"}}"#),
            None => format!("no JSON {}", self.id),
        };
        Record {
            value: Some(value.into_bytes().into()),
            timestamp: RecordTimestamp::from_millis(RECORD_MILLIS),
            ..Record::default()
        }
    }

    fn event(self) -> Option<Event> {
        let id = Uuid::from_u128(self.id.into());
        let body = match self.kind {
            Kind::Started => Body::Started(Started {
                working_directory: BoundedText::parse(format!("directory {}", self.second % 3)).unwrap(),
                git_branch: None,
                hook_source: HookSource::Startup,
            }),
            Kind::Ended => Body::Ended(Ended {
                reason: EndReason::Clear,
                duration_seconds: None,
                tools_used_count: Count::new(0).unwrap(),
            }),
            Kind::Prompt => Body::Prompt(Prompt {
                prompt_id: id,
                prompt_preview: RedactedText::of(""),
                prompt_length: Count::new(self.second.into()).unwrap(),
                detected_intent: None,
            }),
            Kind::Tool => tool(id, &format!("tool {}", self.second % 3)),
            // With ids of its own: no good event ever stands in its place.
            Kind::Unstorable => tool(Uuid::from_u128(1_000 + u128::from(self.id)), UNSTORABLE_TOOL),
            Kind::Bad | Kind::Ignored => return None,
        };
        Some(Event {
            session_id: session_id(self.session),
            entity_id: id,
            // Not nil, which is no id of a trace.
            correlation_id: Uuid::from_u128(1 + u128::from(self.id)),
            causation_id: id,
            emitted_at: at(self.second.into()),
            task_id: None,
            action_description: RedactedText::of(""),
            body,
        })
    }
}

fn tool(id: Uuid, name: &str) -> Body {
    Body::Tool(Tool {
        tool_execution_id: id,
        tool_name: BoundedText::parse(name).unwrap(),
        success: true,
        duration_ms: None,
        summary: None,
    })
}

/// Whether the store refuses this event.
pub fn is_unstorable(event: &Event) -> bool {
    matches!(&event.body, Body::Tool(tool) if tool.tool_name.as_str() == UNSTORABLE_TOOL)
}

impl fmt::Display for RecordSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, session, id, second } = self;
        match kind {
            Kind::Bad => write!(f, "a bad record"),
            Kind::Ignored => write!(f, "a record to ignore"),
            _ => write!(f, "{kind:?} {id} of s{session} at {second} s"),
        }
    }
}
