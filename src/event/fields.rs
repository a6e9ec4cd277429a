//! Takes the members of a JSON object one by one, each by the rule of its field.

use std::{borrow::Cow, fmt::Display};

use uuid::Uuid;

use super::{
    json::{Json, is_written_as_integer},
    number::{Count, DurationMs, DurationSeconds},
    refusal::{Refusal, path_part},
    text::{BoundedText, RedactedText, SessionId, check_length},
    time::EventTime,
};

/// The members of one object: every one known, none twice.
pub(super) struct Fields<'a> {
    /// The whole text and where this object lies in it (empty, or `payload.`).
    text: &'a str,
    prefix: &'static str,
    members: Vec<(&'static str, Json<'a>)>,
}

impl<'a> Fields<'a> {
    /// # Errors
    /// At the first member that is not among `known`, or that is repeated.
    pub(super) fn new(
        text: &'a str,
        prefix: &'static str,
        members: Vec<(Cow<'a, str>, Json<'a>)>,
        known: &[&[&'static str]],
    ) -> Result<Self, Refusal> {
        let mut fields = Self { text, prefix, members: Vec::with_capacity(members.len()) };
        for (name, value) in members {
            let Some(name) = known.iter().copied().flatten().copied().find(|known| *known == name) else {
                return Err(Refusal::schema(format!("{prefix}{}", path_part(&name)), "unknown member"));
            };
            if fields.members.iter().any(|(taken, _)| *taken == name) {
                return Err(fields.refuse(name, "repeated member"));
            }
            fields.members.push((name, value));
        }
        Ok(fields)
    }

    pub(super) fn refuse(&self, name: &str, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::schema(format!("{}{name}", self.prefix), detail)
    }

    /// The member, or none where it is absent. Null is a value.
    pub(super) fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let index = self.members.iter().position(|(member, _)| *member == name)?;
        Some(self.members.swap_remove(index).1)
    }

    /// The member, or none where it is absent or null.
    fn take_nullable(&mut self, name: &str) -> Option<Json<'a>> {
        self.take(name).filter(|value| *value != Json::Null)
    }

    fn required(&mut self, name: &str) -> Result<Json<'a>, Refusal> {
        self.take(name).ok_or_else(|| self.refuse(name, "missing member"))
    }

    fn as_string(&self, name: &str, value: Json<'a>) -> Result<Cow<'a, str>, Refusal> {
        match value {
            Json::String(text) => Ok(text),
            _ => Err(self.refuse(name, "expected a string")),
        }
    }

    fn string(&mut self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        let value = self.required(name)?;
        self.as_string(name, value)
    }

    fn checked<T, E: Display>(&self, name: &str, result: Result<T, E>) -> Result<T, Refusal> {
        result.map_err(|error| self.refuse(name, error.to_string()))
    }

    pub(super) fn uuid(&mut self, name: &str) -> Result<Uuid, Refusal> {
        let text = self.string(name)?;
        // The crate also reads forms without hyphens, in braces, and URNs; all of these have another length.
        let hyphenated = if text.len() == 36 { Uuid::try_parse(&text).ok() } else { None };
        hyphenated.ok_or_else(|| self.refuse(name, "expected a UUID of the form 8-4-4-4-12"))
    }

    pub(super) fn time(&mut self, name: &str) -> Result<EventTime, Refusal> {
        let text = self.string(name)?;
        self.checked(name, EventTime::parse(&text))
    }

    pub(super) fn session_id(&mut self, name: &str) -> Result<SessionId, Refusal> {
        let text = self.string(name)?;
        self.checked(name, SessionId::parse(&text))
    }

    pub(super) fn text<const MIN: usize, const MAX: usize>(
        &mut self,
        name: &str,
    ) -> Result<BoundedText<MIN, MAX>, Refusal> {
        let text = self.string(name)?;
        self.checked(name, BoundedText::parse(text))
    }

    pub(super) fn nullable_text<const MIN: usize, const MAX: usize>(
        &mut self,
        name: &str,
    ) -> Result<Option<BoundedText<MIN, MAX>>, Refusal> {
        let Some(value) = self.take_nullable(name) else { return Ok(None) };
        let text = self.as_string(name, value)?;
        self.checked(name, BoundedText::parse(text)).map(Some)
    }

    pub(super) fn preview(&mut self, name: &str) -> Result<RedactedText, Refusal> {
        Ok(RedactedText::preview_of(&self.string(name)?))
    }

    /// A text that is redacted, of at most `max` characters as received; empty where it is absent.
    pub(super) fn redacted_or_empty(&mut self, name: &str, max: usize) -> Result<RedactedText, Refusal> {
        match self.take(name) {
            None => Ok(RedactedText::of("")),
            Some(value) => self.as_redacted(name, value, max),
        }
    }

    pub(super) fn nullable_redacted(&mut self, name: &str, max: usize) -> Result<Option<RedactedText>, Refusal> {
        self.take_nullable(name).map(|value| self.as_redacted(name, value, max)).transpose()
    }

    fn as_redacted(&self, name: &str, value: Json<'a>, max: usize) -> Result<RedactedText, Refusal> {
        let text = self.as_string(name, value)?;
        self.checked(name, check_length(&text, 0, max))?;
        Ok(RedactedText::of(&text))
    }

    pub(super) fn bool_or(&mut self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.take(name) {
            None => Ok(default),
            Some(Json::Bool(value)) => Ok(value),
            Some(_) => Err(self.refuse(name, "expected true or false")),
        }
    }

    fn as_integer(&self, name: &str, value: &Json<'a>, rule: &'static str) -> Result<i64, Refusal> {
        match value {
            Json::Integer(value) => Ok(*value),
            Json::NegativeZero if is_written_as_integer(self.text, &format!("{}{name}", self.prefix)) => Ok(0),
            _ => Err(self.refuse(name, format!("expected {rule}, written without fraction or exponent"))),
        }
    }

    pub(super) fn count(&mut self, name: &str) -> Result<Count, Refusal> {
        let value = self.required(name)?;
        let value = self.as_integer(name, &value, Count::RULE)?;
        self.checked(name, Count::new(value))
    }

    pub(super) fn count_or_zero(&mut self, name: &str) -> Result<Count, Refusal> {
        let value = self.take(name).unwrap_or(Json::Integer(0));
        let value = self.as_integer(name, &value, Count::RULE)?;
        self.checked(name, Count::new(value))
    }

    pub(super) fn nullable_duration_ms(&mut self, name: &str) -> Result<Option<DurationMs>, Refusal> {
        let Some(value) = self.take_nullable(name) else { return Ok(None) };
        let value = self.as_integer(name, &value, DurationMs::RULE)?;
        self.checked(name, DurationMs::new(value)).map(Some)
    }

    pub(super) fn nullable_duration_seconds(&mut self, name: &str) -> Result<Option<DurationSeconds>, Refusal> {
        let seconds = match self.take_nullable(name) {
            None => return Ok(None),
            #[expect(clippy::cast_precision_loss, reason = "what a double can't hold exactly is far out of range")]
            Some(Json::Integer(value)) => value as f64,
            Some(Json::Number(value)) => value,
            Some(Json::NegativeZero) => 0.0,
            Some(_) => return Err(self.refuse(name, format!("expected {}", DurationSeconds::RULE))),
        };
        self.checked(name, DurationSeconds::new(seconds)).map(Some)
    }

    /// One of a closed list of names.
    pub(super) fn one_of<T: Copy + Display>(
        &mut self,
        name: &str,
        all: &[T],
        from_name: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Refusal> {
        let text = self.string(name)?;
        from_name(&text).ok_or_else(|| {
            let names: Vec<String> = all.iter().map(ToString::to_string).collect();
            self.refuse(name, format!("expected one of {}", names.join(", ")))
        })
    }
}
