//! What the tools are asked for: typed, and with the limits that their schemas show.

use std::{borrow::Cow, fmt::Display, str::FromStr};

use chrono::{TimeDelta, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    event::{EventTime, SessionId},
    fold::Status,
    store::{Direction, PageSize, SessionFilter, SessionOrder, SessionSort, TimeRange},
};

use super::failure::CallFailure;

/// Rows of a page, and characters of a text that a filter compares.
pub(super) const MOST_ROWS: u16 = 100;
const ROWS: u16 = 20;
const MOST_CHARACTERS: usize = 4_096;

/// An instant, as the events have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Instant(pub(super) EventTime);

impl TryFrom<String> for Instant {
    type Error = crate::event::InvalidTime;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        EventTime::parse(&text).map(Self)
    }
}

impl JsonSchema for Instant {
    fn schema_name() -> Cow<'static, str> {
        "Instant".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time", "examples": ["2026-03-01T09:00:00Z"]})
    }
}

/// A text that a row's is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Needle(pub(super) String);

impl TryFrom<String> for Needle {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // No text in Postgres holds U+0000.
        if text.is_empty() || text.contains('\0') || text.chars().nth(MOST_CHARACTERS).is_some() {
            return Err("a text has 1 to 4096 characters without U+0000");
        }
        Ok(Self(text))
    }
}

impl JsonSchema for Needle {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS})
    }
}

/// How many rows an answer has at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub(super) struct Rows(PageSize);

impl TryFrom<u16> for Rows {
    type Error = &'static str;

    fn try_from(rows: u16) -> Result<Self, Self::Error> {
        PageSize::new(rows).filter(|_| rows <= MOST_ROWS).map(Self).ok_or("a limit is 1 to 100")
    }
}

impl JsonSchema for Rows {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": ROWS})
    }
}

/// The rows asked for, or as many as an answer has where nobody says.
pub(super) fn rows(limit: Option<Rows>) -> Result<PageSize, CallFailure> {
    limit.map(|Rows(size)| size).or_else(|| PageSize::new(ROWS)).ok_or_else(|| CallFailure::arguments("limit: missing"))
}

fn statuses(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
    json_schema!({"type": "array", "items": {"type": "string", "enum": names}, "maxItems": names.len()})
}

fn sorts(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = SessionSort::ALL.iter().map(|sort| sort.as_str()).collect();
    json_schema!({"type": "string", "enum": names, "default": SessionSort::LastEvent.as_str()})
}

/// Which sessions to find.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FindSessions {
    /// Any of these statuses; any at all where it is empty.
    #[schemars(schema_with = "statuses")]
    status: Vec<Status>,
    /// Exactly this working directory; not together with `under`.
    directory: Option<Needle>,
    /// This working directory or one below it.
    under: Option<Needle>,
    /// This git branch.
    branch: Option<Needle>,
    /// Whose last event is not before this time.
    from: Option<Instant>,
    /// Whose last event is before this time.
    to: Option<Instant>,
    /// That executed this tool at least once.
    tool: Option<Needle>,
    /// What they are sorted by, the greatest first.
    #[schemars(schema_with = "sorts")]
    sort: Option<SessionSort>,
    /// The least first.
    ascending: bool,
    /// Most sessions of the answer.
    pub(super) limit: Option<Rows>,
    /// The `next` of the answer before, with the same `sort` and `ascending`.
    pub(super) after: Option<String>,
}

impl FindSessions {
    pub(super) fn order(&self) -> SessionOrder {
        let direction = if self.ascending { Direction::Ascending } else { Direction::Descending };
        SessionOrder { by: self.sort.unwrap_or(SessionSort::LastEvent), direction }
    }

    pub(super) fn filter(self) -> Result<SessionFilter, CallFailure> {
        if self.directory.is_some() && self.under.is_some() {
            return Err(CallFailure::arguments("under: not together with directory"));
        }
        let text = |needle: Option<Needle>| needle.map(|Needle(text)| text);
        Ok(SessionFilter {
            statuses: self.status,
            working_directory: text(self.directory),
            under_directory: text(self.under),
            git_branch: text(self.branch),
            from: self.from.map(|Instant(time)| time),
            to: self.to.map(|Instant(time)| time),
            tool: text(self.tool),
        })
    }
}

fn session_ids(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 255})
}

/// Which session.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GetSession {
    /// The session's id.
    #[schemars(schema_with = "session_ids")]
    session_id: String,
}

impl GetSession {
    pub(super) fn session(&self) -> Result<SessionId, CallFailure> {
        session(&self.session_id)
    }
}

/// Which session's timeline, and which part of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GetTimeline {
    /// The session's id.
    #[schemars(schema_with = "session_ids")]
    session_id: String,
    /// Most entries of the answer.
    pub(super) limit: Option<Rows>,
    /// The `next` of the answer before.
    pub(super) after: Option<String>,
}

impl GetTimeline {
    pub(super) fn session(&self) -> Result<SessionId, CallFailure> {
        session(&self.session_id)
    }
}

fn session(text: &str) -> Result<SessionId, CallFailure> {
    SessionId::parse(text)
        .map_err(|_| CallFailure::arguments("session_id: every session's id has 1 to 255 characters without U+0000"))
}

/// Which tools, and when.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ToolUsage {
    /// Executions from this time on; a day before `to` where it is missing.
    pub(super) from: Option<Instant>,
    /// Executions before this time, at most 31 days after `from`; now where it is missing.
    pub(super) to: Option<Instant>,
    /// Only this tool.
    pub(super) tool: Option<Needle>,
    /// Most tools of the answer, those with the most calls.
    pub(super) limit: Option<Rows>,
}

/// Which failures.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Failures {
    /// Executions from this time on; a day before `to` where it is missing.
    pub(super) from: Option<Instant>,
    /// Executions before this time, at most 31 days after `from`; now where it is missing.
    pub(super) to: Option<Instant>,
    /// Only of this tool.
    pub(super) tool: Option<Needle>,
    /// Most failures of the answer.
    pub(super) limit: Option<Rows>,
    /// The `next` of the answer before, with the same `from`.
    pub(super) after: Option<String>,
}

/// Since when.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ChangedSince {
    /// Sessions whose row was written at this time or later. This or `after`.
    pub(super) since: Option<Instant>,
    /// The `next` of the answer before: also of the last one, to be asked again later.
    pub(super) after: Option<String>,
    /// Only sessions whose last event is not before this time. Much faster where there are many sessions.
    pub(super) last_event_from: Option<Instant>,
    /// Most sessions of the answer.
    pub(super) limit: Option<Rows>,
}

/// How much of the pipeline.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PipelineHealth {
    /// Most partitions of the answer, those that are farthest behind.
    pub(super) limit: Option<Rows>,
}

/// The arguments of a call.
pub(super) fn read<T: DeserializeOwned>(arguments: Option<Map<String, Value>>) -> Result<T, CallFailure> {
    let object = Value::Object(arguments.unwrap_or_default());
    serde_json::from_value(object).map_err(CallFailure::arguments)
}

/// A position that an answer had in its `next`.
pub(super) fn position<T: FromStr<Err: Display>>(after: Option<&str>) -> Result<Option<T>, CallFailure> {
    let parsed = after.map(str::parse).transpose();
    parsed.map_err(|why| CallFailure::arguments(format!("after: {why}")))
}

/// The range asked for; a day until now where nobody says.
pub(super) fn range(from: Option<Instant>, to: Option<Instant>) -> Result<TimeRange, CallFailure> {
    let moved = |time: EventTime, by: TimeDelta| EventTime::from_utc(time.as_utc() + by).ok();
    let found = || {
        let to = match to {
            Some(Instant(to)) => to,
            None => EventTime::from_utc(Utc::now()).ok()?,
        };
        let from = match from {
            Some(Instant(from)) => from,
            None => moved(to, TimeDelta::days(-1))?,
        };
        TimeRange::new(from, to)
    };
    let days = TimeRange::MAX_DAYS;
    found().ok_or_else(|| CallFailure::arguments(format!("from, to: from is before to, by at most {days} days")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal<T: DeserializeOwned + std::fmt::Debug>(arguments: Value) -> String {
        read::<T>(arguments.as_object().cloned()).unwrap_err().to_string()
    }

    #[test]
    fn arguments_outside_their_limits_are_refused_with_the_limits() {
        for (arguments, words) in [
            (json!({"limit": 0}), "1 to 100"),
            (json!({"limit": 101}), "1 to 100"),
            (json!({"limit": "5"}), "u16"),
            (json!({"from": "yesterday"}), "2026-03-01T09:00:00"),
            (json!({"status": ["asleep"]}), "asleep"),
            (json!({"sort": "size"}), "size"),
            (json!({"branch": ""}), "1 to 4096"),
            (json!({"branch": "a\0"}), "U+0000"),
            (json!({"branch": "x".repeat(4_097)}), "1 to 4096"),
            (json!({"sql": "SELECT 1"}), "unknown field"),
        ] {
            assert!(refusal::<FindSessions>(arguments.clone()).contains(words), "{arguments}");
        }
        assert!(refusal::<GetSession>(json!({})).contains("session_id"));
        assert!(read::<FindSessions>(None).is_ok());
        assert!(read::<FindSessions>(json!({"branch": null, "limit": 100}).as_object().cloned()).is_ok());
    }

    #[test]
    fn a_range_is_a_day_until_now_where_nobody_says() {
        let range = range(None, None).unwrap();
        assert_eq!(range.to().as_utc() - range.from().as_utc(), TimeDelta::days(1));
        let at = |text: &str| Some(Instant(EventTime::parse(text).unwrap()));
        assert!(super::range(at("2026-03-01T00:00:00Z"), at("2026-05-01T00:00:00Z")).is_err());
        assert!(super::range(None, at("0001-01-01T00:00:00Z")).is_err());
    }
}
