//! Bytes to a valid, redacted [`Event`], or the [`Refusal`] that says why not.
//!
//! Every field's type carries its rule, so an event that exists is valid: there is no constructor that takes an
//! unchecked text, time or number. Decoding is pure: the same bytes, header and record timestamp always give the
//! same answer, which is what makes a replay decide alike.

mod characters;
mod decode;
mod digest;
mod encode;
mod fields;
mod json;
mod kind;
mod member;
mod number;
mod prefetch;
mod redact;
mod refusal;
#[cfg(test)]
pub(crate) mod samples;
mod text;
mod time;

pub use decode::{Decoded, Decoder, WireRecord};
pub use digest::EventSetDigest;
pub(crate) use kind::wire_names;
pub use kind::{EndReason, EventKind, HookSource};
pub use number::{Count, DurationMs, DurationSeconds, OutOfRange};
pub(crate) use prefetch::prefetched;
pub use redact::redact;
pub(crate) use refusal::path_part;
pub use refusal::{Reason, Refusal};
pub use text::{BoundedText, InvalidText, RedactedText, SessionId, TaskId, Text, ToolName};
pub use time::{EventTime, InvalidTime, RecordTimestamp};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One valid session event.
///
/// The order derived here is by content alone. It is used as the last resort between two events that share a natural
/// key, a time and a causation id; it has no meaning of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    pub session_id: SessionId,
    pub entity_id: Uuid,
    pub correlation_id: Uuid,
    pub causation_id: Uuid,
    pub emitted_at: EventTime,
    pub task_id: Option<TaskId>,
    pub action_description: RedactedText,
    pub body: Body,
}

/// What an event of each kind has of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Body {
    Started(Started),
    Prompt(Prompt),
    Tool(Tool),
    Ended(Ended),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Started {
    pub working_directory: Text,
    pub git_branch: Option<Text>,
    pub hook_source: HookSource,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    pub reason: EndReason,
    pub duration_seconds: Option<DurationSeconds>,
    pub tools_used_count: Count,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prompt {
    pub prompt_id: Uuid,
    /// At most 100 characters, cut after redaction.
    pub prompt_preview: RedactedText,
    pub prompt_length: Count,
    pub detected_intent: Option<RedactedText>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tool {
    pub tool_execution_id: Uuid,
    pub tool_name: ToolName,
    pub success: bool,
    pub duration_ms: Option<DurationMs>,
    pub summary: Option<RedactedText>,
}

/// What makes an event the same event, within its session: two events with one key are one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKey {
    Started { emitted_at: EventTime, causation_id: Uuid },
    Prompt(Uuid),
    Tool(Uuid),
    Ended { emitted_at: EventTime, causation_id: Uuid },
}

/// Where an event stands among the events of its session: by time, then kind, then id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub emitted_at: EventTime,
    pub kind: EventKind,
    pub id: Uuid,
}

impl Event {
    pub fn kind(&self) -> EventKind {
        match self.body {
            Body::Started(_) => EventKind::Started,
            Body::Prompt(_) => EventKind::Prompt,
            Body::Tool(_) => EventKind::Tool,
            Body::Ended(_) => EventKind::Ended,
        }
    }

    pub fn key(&self) -> EventKey {
        let (emitted_at, causation_id) = (self.emitted_at, self.causation_id);
        match &self.body {
            Body::Started(_) => EventKey::Started { emitted_at, causation_id },
            Body::Prompt(prompt) => EventKey::Prompt(prompt.prompt_id),
            Body::Tool(tool) => EventKey::Tool(tool.tool_execution_id),
            Body::Ended(_) => EventKey::Ended { emitted_at, causation_id },
        }
    }

    pub fn position(&self) -> Position {
        let id = match &self.body {
            Body::Prompt(prompt) => prompt.prompt_id,
            Body::Tool(tool) => tool.tool_execution_id,
            Body::Started(_) | Body::Ended(_) => self.causation_id,
        };
        Position { emitted_at: self.emitted_at, kind: self.kind(), id }
    }

    /// Whether this event stands where `other`, which has the same key, stands now: the smaller
    /// (`emitted_at`, `causation_id`) does, and on a tie the smaller content.
    pub fn precedes(&self, other: &Event) -> bool {
        let by_time = (self.emitted_at, self.causation_id).cmp(&(other.emitted_at, other.causation_id));
        by_time.then_with(|| self.cmp(other)).is_lt()
    }
}
