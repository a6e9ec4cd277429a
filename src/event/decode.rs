//! One record's bytes to an event, a kind to ignore, or a refusal. The checks run in the order of the route: size,
//! JSON, shape and kind, version, source and fields, time. The first that fails is the reason.

use std::{collections::HashSet, time::Duration};

use super::{
    Body, Ended, Event, Prompt, Started, Tool,
    fields::Fields,
    json::{self, Json, Members, Name},
    kind::{EndReason, EventKind, HookSource},
    member::{Member, MemberSet},
    refusal::{Reason, Refusal},
    time::RecordTimestamp,
};

/// What decoding looks at in a Kafka record.
#[derive(Clone, Copy, Debug, Default)]
pub struct WireRecord<'a> {
    /// None for a null value.
    pub value: Option<&'a [u8]>,
    /// The value of the record's last header `event_type`; the outer none where there is no such header, the inner
    /// where its value is null.
    pub kind_header: Option<Option<&'a [u8]>>,
    pub timestamp: Option<RecordTimestamp>,
}

/// What a record's bytes turn out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    Event(Event),
    /// Of a kind that the configuration says to count and skip.
    Ignored,
    Refused(Refusal),
}

/// The settings of decoding.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// A value with more bytes than this is refused; exactly this many pass.
    pub max_value_bytes: usize,
    /// How far `emitted_at` may lie after the record's own timestamp.
    pub future_tolerance: Duration,
    /// Kinds beside the four that are no fault.
    pub ignored_kinds: HashSet<String>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { max_value_bytes: 1 << 20, future_tolerance: Duration::from_secs(30), ignored_kinds: HashSet::new() }
    }
}

const SOURCE: &str = "omniclaude";
pub(super) const SCHEMA_VERSION: &str = "1.0.0";

const ENVELOPE: MemberSet = MemberSet::of(&[Member::EventType, Member::SchemaVersion, Member::Source, Member::Payload]);
const COMMON: MemberSet = MemberSet::of(&[
    Member::EntityId,
    Member::SessionId,
    Member::CorrelationId,
    Member::CausationId,
    Member::EmittedAt,
    Member::TaskId,
    Member::ActionDescription,
]);
const STARTED: MemberSet = MemberSet::of(&[Member::WorkingDirectory, Member::GitBranch, Member::HookSource]);
const ENDED: MemberSet = MemberSet::of(&[Member::Reason, Member::DurationSeconds, Member::ToolsUsedCount]);
const PROMPT: MemberSet =
    MemberSet::of(&[Member::PromptId, Member::PromptPreview, Member::PromptLength, Member::DetectedIntent]);
const TOOL: MemberSet =
    MemberSet::of(&[Member::ToolExecutionId, Member::ToolName, Member::Success, Member::DurationMs, Member::Summary]);

const ACTION_DESCRIPTION_CHARS: usize = 160;
const SUMMARY_CHARS: usize = 500;

impl Decoder {
    pub fn decode(&self, record: WireRecord<'_>) -> Decoded {
        self.decode_finding_header(record.value, record.timestamp, || record.kind_header)
    }

    /// The same, where a header has to be looked for: only a value that is no envelope needs it. All three are as in
    /// [`WireRecord`].
    pub fn decode_finding_header<'a>(
        &self,
        value: Option<&'a [u8]>,
        timestamp: Option<RecordTimestamp>,
        kind_header: impl FnOnce() -> Option<Option<&'a [u8]>>,
    ) -> Decoded {
        match self.try_decode(value, timestamp, kind_header) {
            Ok(Some(event)) => Decoded::Event(event),
            Ok(None) => Decoded::Ignored,
            Err(refusal) => Decoded::Refused(refusal),
        }
    }

    fn try_decode<'a>(
        &self,
        value: Option<&'a [u8]>,
        timestamp: Option<RecordTimestamp>,
        kind_header: impl FnOnce() -> Option<Option<&'a [u8]>>,
    ) -> Result<Option<Event>, Refusal> {
        let text = self.text(value)?;
        let json = json::parse(text).map_err(|error| Refusal::new(Reason::InvalidJson, error.to_string()))?;
        let Json::Object(members) = json else {
            return Err(Refusal::new(Reason::Schema, "expected an object"));
        };
        let is_envelope =
            members.iter().any(|(name, _)| matches!(name, Name::Known(Member::EventType | Member::Payload)));
        let name = if is_envelope { kind_of_envelope(&members)? } else { kind_of_header(kind_header())? };
        let Some(kind) = EventKind::from_name(name) else {
            return if self.ignored_kinds.contains(name) { Ok(None) } else { Err(unknown_kind(is_envelope)) };
        };
        let event = if is_envelope {
            read_payload(text, "payload.", kind, open_envelope(text, members)?)?
        } else {
            read_payload(text, "", kind, members)?
        };
        self.check_time(timestamp, is_envelope, &event)?;
        Ok(Some(event))
    }

    fn text<'a>(&self, value: Option<&'a [u8]>) -> Result<&'a str, Refusal> {
        let value = value.ok_or_else(|| Refusal::new(Reason::InvalidJson, "the value is null"))?;
        if value.len() > self.max_value_bytes {
            let detail = format!("the value has {} bytes, {} are allowed", value.len(), self.max_value_bytes);
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        if value.is_empty() {
            return Err(Refusal::new(Reason::InvalidJson, "the value is empty"));
        }
        std::str::from_utf8(value)
            .map_err(|error| Refusal::new(Reason::InvalidJson, format!("not UTF-8 at byte {}", error.valid_up_to())))
    }

    fn check_time(&self, record: Option<RecordTimestamp>, is_envelope: bool, event: &Event) -> Result<(), Refusal> {
        match record {
            Some(record) if record.is_before(event.emitted_at, self.future_tolerance) => {
                let detail = "later than the record's timestamp by more than the tolerance";
                let path = if is_envelope { "payload.emitted_at" } else { "emitted_at" };
                Err(Refusal::new(Reason::FutureTimestamp, detail).at(path))
            }
            _ => Ok(()),
        }
    }
}

fn unknown_kind(is_envelope: bool) -> Refusal {
    let path = if is_envelope { "event_type" } else { "headers.event_type" };
    Refusal::new(Reason::UnknownEventType, "not a kind of event that this consumer knows").at(path)
}

/// The kind is judged before everything else in the envelope, so that kinds to ignore may have any shape.
fn kind_of_envelope<'a>(members: &'a Members<'_>) -> Result<&'a str, Refusal> {
    let mut kinds = members.iter().filter(|(name, _)| *name == Name::Known(Member::EventType));
    match (kinds.next(), kinds.next()) {
        (Some((_, Json::String(kind))), None) => Ok(kind),
        (Some(_), None) => Err(Refusal::schema("event_type", "expected a string")),
        (Some(_), Some(_)) => Err(Refusal::schema("event_type", "repeated member")),
        (None, _) => Err(Refusal::schema("event_type", "missing member")),
    }
}

fn kind_of_header(header: Option<Option<&[u8]>>) -> Result<&str, Refusal> {
    const PATH: &str = "headers.event_type";
    let value = header
        .ok_or_else(|| Refusal::schema("event_type", "neither an envelope nor a record with a header `event_type`"))?;
    value.and_then(|value| std::str::from_utf8(value).ok()).ok_or_else(|| Refusal::schema(PATH, "expected a string"))
}

/// Checks version and source, and hands out the payload's members.
fn open_envelope<'a>(text: &'a str, members: Members<'a>) -> Result<Members<'a>, Refusal> {
    check_version(&members)?;
    let mut envelope = Fields::new(text, "", members, ENVELOPE)?;
    match envelope.take(Member::Source) {
        None => {}
        Some(Json::String(source)) if source == SOURCE => {}
        Some(_) => return Err(envelope.refuse(Member::Source, "expected \"omniclaude\"")),
    }
    match envelope.take(Member::Payload) {
        Some(Json::Object(members)) => Ok(members),
        Some(_) => Err(envelope.refuse(Member::Payload, "expected an object")),
        None => Err(envelope.refuse(Member::Payload, "missing member")),
    }
}

/// Of a repeated version any is at fault; that it is repeated is seen with the other members.
fn check_version(members: &Members<'_>) -> Result<(), Refusal> {
    const PATH: &str = "schema_version";
    match members.iter().find(|(name, _)| *name == Name::Known(Member::SchemaVersion)).map(|(_, version)| version) {
        None => Ok(()),
        Some(Json::String(version)) if version == SCHEMA_VERSION => Ok(()),
        Some(Json::String(_)) => {
            Err(Refusal::new(Reason::UnsupportedSchemaVersion, "this build reads version 1.0.0").at(PATH))
        }
        Some(_) => Err(Refusal::schema(PATH, "expected a string")),
    }
}

fn read_payload<'a>(
    text: &'a str,
    prefix: &'static str,
    kind: EventKind,
    members: Members<'a>,
) -> Result<Event, Refusal> {
    let own = match kind {
        EventKind::Started => STARTED,
        EventKind::Ended => ENDED,
        EventKind::Prompt => PROMPT,
        EventKind::Tool => TOOL,
    };
    let mut fields = Fields::new(text, prefix, members, COMMON.and(own))?;
    Ok(Event {
        entity_id: fields.uuid(Member::EntityId)?,
        session_id: fields.session_id(Member::SessionId)?,
        correlation_id: fields.uuid(Member::CorrelationId)?,
        causation_id: fields.uuid(Member::CausationId)?,
        emitted_at: fields.time(Member::EmittedAt)?,
        task_id: fields.nullable_text(Member::TaskId)?,
        action_description: fields.redacted_or_empty(Member::ActionDescription, ACTION_DESCRIPTION_CHARS)?,
        body: read_body(kind, &mut fields)?,
    })
}

fn read_body(kind: EventKind, fields: &mut Fields<'_>) -> Result<Body, Refusal> {
    Ok(match kind {
        EventKind::Started => Body::Started(Started {
            working_directory: fields.text(Member::WorkingDirectory)?,
            git_branch: fields.nullable_text(Member::GitBranch)?,
            hook_source: fields.one_of(Member::HookSource, HookSource::ALL, HookSource::from_name)?,
        }),
        EventKind::Ended => Body::Ended(Ended {
            reason: fields.one_of(Member::Reason, EndReason::ALL, EndReason::from_name)?,
            duration_seconds: fields.nullable_duration_seconds(Member::DurationSeconds)?,
            tools_used_count: fields.count_or_zero(Member::ToolsUsedCount)?,
        }),
        EventKind::Prompt => Body::Prompt(Prompt {
            prompt_id: fields.uuid(Member::PromptId)?,
            prompt_preview: fields.preview(Member::PromptPreview)?,
            prompt_length: fields.count(Member::PromptLength)?,
            detected_intent: fields.nullable_redacted(Member::DetectedIntent, usize::MAX)?,
        }),
        EventKind::Tool => Body::Tool(Tool {
            tool_execution_id: fields.uuid(Member::ToolExecutionId)?,
            tool_name: fields.text(Member::ToolName)?,
            success: fields.bool_or(Member::Success, true)?,
            duration_ms: fields.nullable_duration_ms(Member::DurationMs)?,
            summary: fields.nullable_redacted(Member::Summary, SUMMARY_CHARS)?,
        }),
    })
}
