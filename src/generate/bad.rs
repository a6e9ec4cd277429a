//! Records that are no good event, for every reason that a record itself can give.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{
    GeneratedRecord, KIND_HEADER,
    random::Random,
    session::stray,
    wire::{Body, Payload},
};
use crate::event::{EventKind, Reason};

/// What is wrong. Members are named by JSON pointers, and what stands there instead is JSON; none takes the member out.
#[derive(Clone, Copy)]
enum Fault {
    /// A member of the envelope or of its payload.
    Member(EventKind, &'static str, Option<&'static str>),
    /// Something done to the bytes of a good envelope.
    Bytes(fn(Vec<u8>) -> Vec<u8>),
    /// Bytes of their own.
    Value(Option<&'static [u8]>),
    /// A good bare payload under these headers.
    Headers(&'static [(&'static str, Option<&'static [u8]>)]),
    /// This many milliseconds ahead of its record; as an envelope or bare.
    Ahead(i64, bool),
    /// This many bytes too large, of blanks after the value or of a long text in it.
    TooLarge(usize, bool),
}

use EventKind::{Ended, Prompt, Started, Tool};
use Reason::{FutureTimestamp, InvalidJson, Schema, UnknownEventType, UnsupportedSchemaVersion};

/// Gone through in turn, so that each occurs as often as the next, also in a short run. A twentieth is too large.
const FAULTS: [(Reason, Fault); 60] = [
    (InvalidJson, Fault::Value(None)),
    (Schema, Fault::Member(Tool, "/payload/success", Some("\"true\""))),
    (UnknownEventType, Fault::Member(Started, "/event_type", Some("\"hook.session.paused\""))),
    (FutureTimestamp, Fault::Ahead(3_600_000, false)),
    (UnsupportedSchemaVersion, Fault::Member(Prompt, "/schema_version", Some("\"2.0.0\""))),
    (Reason::TooLarge, Fault::TooLarge(1, false)),
    (InvalidJson, Fault::Bytes(|value| value[..value.len() / 2].to_vec())),
    (Schema, Fault::Headers(&[])),
    (Schema, Fault::Member(Prompt, "/payload/prompt_length", Some("5.0"))),
    (InvalidJson, Fault::Value(Some(b""))),
    (Schema, Fault::Member(Started, "/payload/working_directory", None)),
    (UnknownEventType, Fault::Headers(&[(KIND_HEADER, Some(b"hook.notification"))])),
    (Schema, Fault::Member(Ended, "/payload/exit_code", Some("0"))),
    (InvalidJson, Fault::Bytes(|value| [b"\xEF\xBB\xBF".as_slice(), &value].concat())),
    (Schema, Fault::Bytes(|value| insert(value, b"\"payload\":{", b"\"action_description\":\"twice\","))),
    (Schema, Fault::Member(Tool, "/payload/duration_ms", Some("3600001"))),
    (FutureTimestamp, Fault::Ahead(30_001, true)),
    (InvalidJson, Fault::Bytes(|value| insert(value, b"\"session_id\":\"", b"\xC3\x28"))),
    (UnsupportedSchemaVersion, Fault::Member(Tool, "/schema_version", Some("\"1.0\""))),
    (Schema, Fault::Member(Started, "/payload/hook_source", Some("\"Startup\""))),
    (Schema, Fault::Headers(&[(KIND_HEADER, Some(b"hook.tool.executed")), (KIND_HEADER, None)])),
    (InvalidJson, Fault::Bytes(|value| [&value, b"{}".as_slice()].concat())),
    (Schema, Fault::Member(Tool, "/payload/tool_execution_id", Some("\"9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d\""))),
    (Schema, Fault::Bytes(|value| insert(value, b"{", b"\"source\":\"omniclaude\","))),
    (UnknownEventType, Fault::Member(Tool, "/event_type", Some("\"Hook.Tool.Executed\""))),
    (Reason::TooLarge, Fault::TooLarge(4_096, true)),
    (Schema, Fault::Member(Prompt, "/payload/emitted_at", Some("\"2026-03-01T09:00Z\""))),
    (InvalidJson, Fault::Value(Some(b"session ended"))),
    (Schema, Fault::Member(Ended, "/payload/reason", Some("null"))),
    (Schema, Fault::Member(Prompt, "/payload/session_id", Some("\"\""))),
    (FutureTimestamp, Fault::Ahead(86_400_000, false)),
    (Schema, Fault::Member(Ended, "/payload/duration_seconds", Some("-1.5"))),
    (InvalidJson, Fault::Bytes(|value| insert(value, b"{", b"/* from the hook */"))),
    (Schema, Fault::Member(Started, "/payload", Some("[]"))),
    (UnsupportedSchemaVersion, Fault::Member(Started, "/schema_version", Some("\"\""))),
    (Schema, Fault::Member(Tool, "/payload/tool_name", Some("\"\""))),
    (InvalidJson, Fault::Bytes(|value| insert(value, b"{", b"\"cost\":NaN,"))),
    (Schema, Fault::Member(Prompt, "/event_type", Some("7"))),
    (UnknownEventType, Fault::Member(Ended, "/event_type", Some("\"\""))),
    (Schema, Fault::Value(Some(b"[]"))),
    (Schema, Fault::Member(Ended, "/payload/tools_used_count", Some("-1"))),
    (InvalidJson, Fault::Bytes(|value| insert(value, b"\"session_id\":\"", b"\\ud800"))),
    (Schema, Fault::Member(Prompt, "/source", Some("\"othertool\""))),
    (Schema, Fault::Member(Tool, "/event_type", None)),
    (FutureTimestamp, Fault::Ahead(3_600_000, true)),
    (Schema, Fault::Member(Started, "/payload/session_id", Some("\"a\\u0000b\""))),
    (Reason::TooLarge, Fault::TooLarge(1, true)),
    (Schema, Fault::Member(Prompt, "/payload/prompt_id", Some("null"))),
    (InvalidJson, Fault::Bytes(|_| [b"[".repeat(129), b"]".repeat(129)].concat())),
    (Schema, Fault::Member(Tool, "/payload/duration_ms", Some("\"12\""))),
    (UnknownEventType, Fault::Headers(&[(KIND_HEADER, Some(b"hook.prompt.submitted ")), ("trace", None)])),
    (Schema, Fault::Member(Ended, "/payload/tools_used_count", Some("9223372036854775808"))),
    (Schema, Fault::Headers(&[(KIND_HEADER, Some(b"\xFF\xFE"))])),
    (UnsupportedSchemaVersion, Fault::Member(Ended, "/schema_version", Some("\"v1\""))),
    (InvalidJson, Fault::Bytes(|value| insert(value, b"{", b"\"cost\":1e999,"))),
    (Schema, Fault::Member(Prompt, "/schema_version", Some("1"))),
    (Schema, Fault::Member(Tool, "/payload/success", Some("null"))),
    (FutureTimestamp, Fault::Ahead(45_000, false)),
    (Schema, Fault::Member(Started, "/payload/entity_id", None)),
    (Schema, Fault::Member(Ended, "/payload/emitted_at", Some("1767225600"))),
];

/// Values larger than this are few, however long the run.
const LARGE_BYTES: usize = 64 << 10;
const MOST_LARGE: usize = 5;

pub(super) struct BadRecords {
    max_value_bytes: usize,
    turn: usize,
    large: usize,
}

impl BadRecords {
    pub(super) fn new(max_value_bytes: usize) -> Self {
        Self { max_value_bytes, turn: 0, large: 0 }
    }

    pub(super) fn next(&mut self, random: &mut Random, now: DateTime<Utc>) -> GeneratedRecord {
        let (reason, fault) = self.next_fault();
        let kind = match fault {
            Fault::Member(kind, ..) => kind,
            Fault::TooLarge(..) => Prompt,
            _ => random.pick(EventKind::ALL),
        };
        let payload = stray(random, kind, now);
        let record = GeneratedRecord {
            kind,
            key: payload.session_id.clone().into_bytes(),
            value: None,
            headers: Vec::new(),
            timestamp_millis: now.timestamp_millis(),
            intended: Some(reason),
        };
        self.spoil(record, payload, fault)
    }

    fn next_fault(&mut self) -> (Reason, Fault) {
        loop {
            let (reason, fault) = FAULTS[self.turn % FAULTS.len()];
            self.turn += 1;
            if reason != Reason::TooLarge {
                return (reason, fault);
            }
            if self.max_value_bytes <= LARGE_BYTES || self.large < MOST_LARGE {
                self.large += 1;
                return (reason, fault);
            }
        }
    }

    fn spoil(&self, mut record: GeneratedRecord, mut payload: Payload, fault: Fault) -> GeneratedRecord {
        record.value = match fault {
            Fault::Member(_, pointer, json) => Some(with_member(&payload.envelope(false), pointer, json)),
            Fault::Bytes(change) => Some(change(payload.envelope(false))),
            Fault::Value(value) => value.map(<[u8]>::to_vec),
            Fault::Headers(headers) => {
                let owned = |(name, value): &(&str, Option<&[u8]>)| ((*name).to_owned(), value.map(<[u8]>::to_vec));
                record.headers = headers.iter().map(owned).collect();
                Some(payload.bare())
            }
            Fault::Ahead(millis, bare) => {
                payload.move_to(payload.at + TimeDelta::milliseconds(millis));
                if bare {
                    record.headers.push((KIND_HEADER.to_owned(), Some(record.kind.as_str().into())));
                }
                Some(if bare { payload.bare() } else { payload.envelope(false) })
            }
            Fault::TooLarge(by, text) => Some(too_large(payload, self.max_value_bytes + by, text)),
        };
        record
    }
}

/// A good event's value but for its size. It compresses well, since a broker's own limit holds for compressed batches
/// and may be the same.
fn too_large(mut payload: Payload, bytes: usize, text: bool) -> Vec<u8> {
    if let (true, Body::Prompt { prompt_preview, .. }) = (text, &mut payload.body) {
        *prompt_preview = "and so on ".repeat(bytes / 10);
    }
    let mut value = payload.envelope(false);
    value.resize(bytes.max(value.len()), b' ');
    value
}

/// The value with another member. A repeated one has to be inserted as bytes, since no map can hold it.
#[expect(clippy::expect_used, reason = "good envelopes and the constants above are JSON; a test goes through all")]
fn with_member(envelope: &[u8], pointer: &str, json: Option<&str>) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(envelope).expect("a good envelope");
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let members = value.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    match json {
        Some(json) => members.insert(name.to_owned(), serde_json::from_str(json).expect("JSON")),
        None => members.remove(name),
    };
    serde_json::to_vec(&value).expect("JSON")
}

/// Puts `piece` after the first `place`.
fn insert(mut value: Vec<u8>, place: &[u8], piece: &[u8]) -> Vec<u8> {
    let found = value.windows(place.len()).position(|window| window == place).map_or(0, |start| start + place.len());
    value.splice(found..found, piece.iter().copied());
    value
}
