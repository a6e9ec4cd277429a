//! A strict reading of JSON (RFC 8259) that keeps what validation needs: repeated members, and whether a number was
//! written as an integer. The parser is serde_json's.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::member::Member;

/// A JSON value. What stands inside an array, or two levels down, is checked but not kept: no rule looks at it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// Written without fraction or exponent, and fitting 64 bits signed.
    Integer(i64),
    /// serde_json reads `-0`, an integer, and `-0.0`, which is none, alike; see [`is_written_as_integer`].
    NegativeZero,
    Number(f64),
    String(Cow<'a, str>),
    Array,
    /// In the order of the text, repeated names included.
    Object(Members<'a>),
}

pub(super) type Members<'a> = Vec<(Name<'a>, Json<'a>)>;

/// What a member is called.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Name<'a> {
    Known(Member),
    Other(Cow<'a, str>),
}

impl<'a> Name<'a> {
    fn of(name: &str, other: impl FnOnce() -> Cow<'a, str>) -> Self {
        Member::from_name(name).map_or_else(|| Self::Other(other()), Self::Known)
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Known(member) => member.as_str(),
            Self::Other(name) => name,
        }
    }
}

/// A payload has about as many members as this.
const USUAL_MEMBERS: usize = 12;
/// More levels of arrays and objects than this are refused.
const MAX_DEPTH: usize = 128;

/// Where a text stops being JSON. Unlike serde_json's own message it can't quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON at line {line}, column {column}")]
pub(super) struct NotJson {
    line: usize,
    column: usize,
}

/// # Errors
/// For anything that is not exactly one JSON value: trailing data, a byte order mark, lone surrogates, numbers out of
/// range, nesting over 128 levels.
pub(super) fn parse(text: &str) -> Result<Json<'_>, NotJson> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // Its own limit is 127 levels. `Level` counts to ours, so that the stack stays bounded.
    deserializer.disable_recursion_limit();
    let parsed = Level(0).deserialize(&mut deserializer).and_then(|json| deserializer.end().map(|()| json));
    parsed.map_err(|error| NotJson { line: error.line(), column: error.column() })
}

/// Whether the member at `path`, which was read as [`Json::NegativeZero`], is the integer `-0`.
pub(super) fn is_written_as_integer(text: &str, path: &str) -> bool {
    use serde_json::value::RawValue;
    type RawMembers<'a> = std::collections::HashMap<Cow<'a, str>, &'a RawValue>;

    let mut rest = text;
    for name in path.split('.') {
        let Some(member) =
            serde_json::from_str::<RawMembers<'_>>(rest).ok().and_then(|members| members.get(name).copied())
        else {
            return false;
        };
        rest = member.get();
    }
    rest == "-0"
}

/// Reads one value that stands inside this many arrays and objects.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn deeper<E: Error>(self) -> Result<Level, E> {
        if self.0 < MAX_DEPTH { Ok(Level(self.0 + 1)) } else { Err(E::custom("nested too deeply")) }
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        #[expect(clippy::cast_precision_loss, reason = "an integer over 64 bits signed is only compared with a range")]
        Ok(i64::try_from(value).map_or(Json::Number(value as f64), Json::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(if value == 0.0 && value.is_sign_negative() { Json::NegativeZero } else { Json::Number(value) })
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json<'de>, A::Error> {
        let level = self.deeper()?;
        while elements.next_element_seed(level)?.is_some() {}
        Ok(Json::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json<'de>, A::Error> {
        let level = self.deeper()?;
        let mut members = Vec::with_capacity(if level.0 <= 2 { USUAL_MEMBERS } else { 0 });
        while let Some(name) = entries.next_key_seed(NameSeed)? {
            let value = entries.next_value_seed(level)?;
            if level.0 <= 2 {
                members.push((name, value));
            }
        }
        Ok(Json::Object(members))
    }
}

/// Reads a member's name, without copying it where it is known or has no escapes.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name::of(name, || Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name::of(name, || Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_of_128_levels_passes_and_of_129_does_not() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(&nested(128)).is_ok());
        assert!(parse(&nested(129)).is_err());
        assert!(parse(&nested(10_000)).is_err());
    }

    #[test]
    fn integers_are_told_from_other_numbers() {
        assert_eq!(parse("9223372036854775807"), Ok(Json::Integer(i64::MAX)));
        assert_eq!(parse("-9223372036854775808"), Ok(Json::Integer(i64::MIN)));
        assert!(matches!(parse("9223372036854775808"), Ok(Json::Number(_))));
        assert!(matches!(parse("5.0"), Ok(Json::Number(_))));
        assert!(matches!(parse("1e3"), Ok(Json::Number(_))));
        assert!(parse("1e400").is_err());
    }

    #[test]
    fn minus_zero_is_an_integer_only_where_it_is_written_as_one() {
        for (text, integer) in
            [(r#"{"a":{"b":-0}}"#, true), (r#"{"a":{"b":-0.0}}"#, false), (r#"{"a":{"b":-0e5}}"#, false)]
        {
            let Ok(Json::Object(members)) = parse(text) else { panic!("{text}") };
            let Json::Object(inner) = &members[0].1 else { panic!("{text}") };
            assert_eq!(inner[0].1, Json::NegativeZero);
            assert_eq!(is_written_as_integer(text, "a.b"), integer, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_also_deep_inside_values_that_nobody_reads() {
        for text in [
            "",
            "\u{feff}{}",
            "{} x",
            "{\"a\":[[\"\\ud800\"]]}",
            "NaN",
            "[1e999]",
            "{\"\\udc00\":1}",
            "/**/1",
            "\"\u{1}\"",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_does_not_quote_the_text() {
        let error = parse(r#"{"password": hunter2}"#).unwrap_err();
        assert_eq!(error.to_string(), "not JSON at line 1, column 14");
    }
}
