//! Takes the members of a JSON object one by one, each by the rule of its field.

use std::{borrow::Cow, fmt::Display};

use uuid::Uuid;

use super::{
    json::{Json, Members, Name, is_written_as_integer},
    member::{Member, MemberSet},
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
    members: Members<'a>,
    /// Where each member that wasn't taken yet stands.
    places: [Option<u8>; Member::ALL.len()],
}

impl<'a> Fields<'a> {
    /// # Errors
    /// At the first member that is not among `known`, or that is repeated.
    pub(super) fn new(
        text: &'a str,
        prefix: &'static str,
        members: Members<'a>,
        known: MemberSet,
    ) -> Result<Self, Refusal> {
        let mut fields = Self { text, prefix, members, places: [None; Member::ALL.len()] };
        // None is repeated, so there are no more than places.
        for (place, (name, _)) in (0..).zip(&fields.members) {
            match name {
                Name::Known(member) if known.contains(*member) => {
                    if fields.places[*member as usize].replace(place).is_some() {
                        return Err(fields.refuse(*member, "repeated member"));
                    }
                }
                _ => return Err(Refusal::schema(format!("{prefix}{}", path_part(name.as_str())), "unknown member")),
            }
        }
        Ok(fields)
    }

    fn path(&self, member: Member) -> String {
        format!("{}{member}", self.prefix)
    }

    pub(super) fn refuse(&self, member: Member, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::schema(self.path(member), detail)
    }

    /// The member, or none where it is absent. Null is a value.
    pub(super) fn take(&mut self, member: Member) -> Option<Json<'a>> {
        let place = self.places[member as usize].take()?;
        Some(std::mem::replace(&mut self.members[usize::from(place)].1, Json::Null))
    }

    /// The member, or none where it is absent or null.
    fn take_nullable(&mut self, member: Member) -> Option<Json<'a>> {
        self.take(member).filter(|value| *value != Json::Null)
    }

    fn required(&mut self, member: Member) -> Result<Json<'a>, Refusal> {
        self.take(member).ok_or_else(|| self.refuse(member, "missing member"))
    }

    fn as_string(&self, member: Member, value: Json<'a>) -> Result<Cow<'a, str>, Refusal> {
        match value {
            Json::String(text) => Ok(text),
            _ => Err(self.refuse(member, "expected a string")),
        }
    }

    fn string(&mut self, member: Member) -> Result<Cow<'a, str>, Refusal> {
        let value = self.required(member)?;
        self.as_string(member, value)
    }

    fn checked<T, E: Display>(&self, member: Member, result: Result<T, E>) -> Result<T, Refusal> {
        result.map_err(|error| self.refuse(member, error.to_string()))
    }

    pub(super) fn uuid(&mut self, member: Member) -> Result<Uuid, Refusal> {
        let text = self.string(member)?;
        // The crate also reads forms without hyphens, in braces, and URNs; all of these have another length.
        let hyphenated = if text.len() == 36 { Uuid::try_parse(&text).ok() } else { None };
        hyphenated.ok_or_else(|| self.refuse(member, "expected a UUID of the form 8-4-4-4-12"))
    }

    pub(super) fn time(&mut self, member: Member) -> Result<EventTime, Refusal> {
        let text = self.string(member)?;
        self.checked(member, EventTime::parse(&text))
    }

    pub(super) fn session_id(&mut self, member: Member) -> Result<SessionId, Refusal> {
        let text = self.string(member)?;
        self.checked(member, SessionId::parse(&text))
    }

    pub(super) fn text<const MIN: usize, const MAX: usize>(
        &mut self,
        member: Member,
    ) -> Result<BoundedText<MIN, MAX>, Refusal> {
        let text = self.string(member)?;
        self.checked(member, BoundedText::parse(text))
    }

    pub(super) fn nullable_text<const MIN: usize, const MAX: usize>(
        &mut self,
        member: Member,
    ) -> Result<Option<BoundedText<MIN, MAX>>, Refusal> {
        let Some(value) = self.take_nullable(member) else { return Ok(None) };
        let text = self.as_string(member, value)?;
        self.checked(member, BoundedText::parse(text)).map(Some)
    }

    pub(super) fn preview(&mut self, member: Member) -> Result<RedactedText, Refusal> {
        Ok(RedactedText::preview_of(&self.string(member)?))
    }

    /// A text that is redacted, of at most `max` characters as received; empty where it is absent.
    pub(super) fn redacted_or_empty(&mut self, member: Member, max: usize) -> Result<RedactedText, Refusal> {
        match self.take(member) {
            None => Ok(RedactedText::of("")),
            Some(value) => self.as_redacted(member, value, max),
        }
    }

    pub(super) fn nullable_redacted(&mut self, member: Member, max: usize) -> Result<Option<RedactedText>, Refusal> {
        self.take_nullable(member).map(|value| self.as_redacted(member, value, max)).transpose()
    }

    fn as_redacted(&self, member: Member, value: Json<'a>, max: usize) -> Result<RedactedText, Refusal> {
        let text = self.as_string(member, value)?;
        self.checked(member, check_length(&text, 0, max))?;
        Ok(RedactedText::of(&text))
    }

    pub(super) fn bool_or(&mut self, member: Member, default: bool) -> Result<bool, Refusal> {
        match self.take(member) {
            None => Ok(default),
            Some(Json::Bool(value)) => Ok(value),
            Some(_) => Err(self.refuse(member, "expected true or false")),
        }
    }

    fn as_integer(&self, member: Member, value: &Json<'a>, rule: &'static str) -> Result<i64, Refusal> {
        match value {
            Json::Integer(value) => Ok(*value),
            Json::NegativeZero if is_written_as_integer(self.text, &self.path(member)) => Ok(0),
            _ => Err(self.refuse(member, format!("expected {rule}, written without fraction or exponent"))),
        }
    }

    pub(super) fn count(&mut self, member: Member) -> Result<Count, Refusal> {
        let value = self.required(member)?;
        let value = self.as_integer(member, &value, Count::RULE)?;
        self.checked(member, Count::new(value))
    }

    pub(super) fn count_or_zero(&mut self, member: Member) -> Result<Count, Refusal> {
        let value = self.take(member).unwrap_or(Json::Integer(0));
        let value = self.as_integer(member, &value, Count::RULE)?;
        self.checked(member, Count::new(value))
    }

    pub(super) fn nullable_duration_ms(&mut self, member: Member) -> Result<Option<DurationMs>, Refusal> {
        let Some(value) = self.take_nullable(member) else { return Ok(None) };
        let value = self.as_integer(member, &value, DurationMs::RULE)?;
        self.checked(member, DurationMs::new(value)).map(Some)
    }

    pub(super) fn nullable_duration_seconds(&mut self, member: Member) -> Result<Option<DurationSeconds>, Refusal> {
        let seconds = match self.take_nullable(member) {
            None => return Ok(None),
            #[expect(clippy::cast_precision_loss, reason = "what a double can't hold exactly is far out of range")]
            Some(Json::Integer(value)) => value as f64,
            Some(Json::Number(value)) => value,
            Some(Json::NegativeZero) => 0.0,
            Some(_) => return Err(self.refuse(member, format!("expected {}", DurationSeconds::RULE))),
        };
        self.checked(member, DurationSeconds::new(seconds)).map(Some)
    }

    /// One of a closed list of names.
    pub(super) fn one_of<T: Copy + Display>(
        &mut self,
        member: Member,
        all: &[T],
        from_name: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Refusal> {
        let text = self.string(member)?;
        from_name(&text).ok_or_else(|| {
            let names: Vec<String> = all.iter().map(ToString::to_string).collect();
            self.refuse(member, format!("expected one of {}", names.join(", ")))
        })
    }
}
