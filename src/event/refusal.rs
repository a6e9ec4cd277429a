//! Why a record is not a good event.

use std::borrow::Cow;

use super::{redact::redact, text::without_nul};

/// The reasons for which a record becomes a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The value has more bytes than configured.
    TooLarge,
    /// The value is null, empty, not UTF-8 or not JSON.
    InvalidJson,
    /// A member is missing, unknown, repeated, or not of its form.
    Schema,
    /// Neither one of the four kinds nor one of those to ignore.
    UnknownEventType,
    /// `schema_version` is a string that this build doesn't read.
    UnsupportedSchemaVersion,
    /// `emitted_at` is later than the record's own timestamp by more than the tolerance.
    FutureTimestamp,
    /// Postgres refuses the data of exactly this event, for a cause that no retry can mend.
    Unstorable,
    /// The aggregator rejects the event, and the configuration says to keep such. A dead letter only: it is counted
    /// as rejected.
    Rejected,
}

impl Reason {
    pub const ALL: [Reason; 8] = [
        Reason::TooLarge,
        Reason::InvalidJson,
        Reason::Schema,
        Reason::UnknownEventType,
        Reason::UnsupportedSchemaVersion,
        Reason::FutureTimestamp,
        Reason::Unstorable,
        Reason::Rejected,
    ];

    /// The name in the database, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TooLarge => "too_large",
            Reason::InvalidJson => "invalid_json",
            Reason::Schema => "schema",
            Reason::UnknownEventType => "unknown_event_type",
            Reason::UnsupportedSchemaVersion => "unsupported_schema_version",
            Reason::FutureTimestamp => "future_timestamp",
            Reason::Unstorable => "unstorable",
            Reason::Rejected => "rejected",
        }
    }
}

/// A reason, the path of the member at fault, and what would have been right. It never quotes a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// Dotted, from the top of the record's value (`payload.duration_ms`), or `headers.event_type`.
    pub field_path: Option<String>,
    pub detail: Cow<'static, str>,
}

impl Refusal {
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, field_path: None, detail: detail.into() }
    }

    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.field_path = Some(path.into());
        self
    }

    pub(super) fn schema(path: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::Schema, detail).at(path)
    }
}

/// A member's name as a part of a path. A name comes from outside too: it may be long, hold U+0000, or be a secret.
pub(crate) fn path_part(name: &str) -> String {
    const MAX_CHARS: usize = 64;
    let redacted = redact(&without_nul(name)).into_owned();
    match redacted.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &redacted[..end]),
        None => redacted,
    }
}
