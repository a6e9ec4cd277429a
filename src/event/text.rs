//! Texts that Postgres can hold: no U+0000, and no more characters than the wire allows.
//!
//! "Characters" are Unicode scalar values.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};

use super::{characters::Characters, redact::redact};

/// Why a text is not one of the types of this module. It never quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    #[error("expected at least {0} character(s)")]
    TooShort(usize),
    #[error("expected at most {0} characters")]
    TooLong(usize),
    #[error("U+0000 is not allowed here")]
    Nul,
}

/// Names a session: 1 to 255 characters, taken as they are. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Characters<38, Arc<str>>);

// Most session ids are UUIDs, of 36 bytes; two more take no more room. The same is true of 22 below.
const _: () = assert!(size_of::<SessionId>() == 40 && size_of::<Option<ToolName>>() == 24);

impl SessionId {
    pub const MAX_CHARS: usize = 255;

    /// # Errors
    /// If the text is empty, longer than 255 characters, or holds U+0000.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        check_length(text, 1, Self::MAX_CHARS)?;
        if text.contains('\0') {
            return Err(InvalidText::Nul);
        }
        Ok(Self(Characters::of(text)))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_str().serialize(serializer)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionId").field(&self.as_str()).finish()
    }
}

/// A text of `MIN` to `MAX` characters in which U+0000 was replaced by U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct BoundedText<const MIN: usize, const MAX: usize>(Characters<22, Box<str>>);

/// A text of any length.
pub type Text = BoundedText<0, { usize::MAX }>;
pub type TaskId = BoundedText<0, 64>;
pub type ToolName = BoundedText<1, 255>;

impl<const MIN: usize, const MAX: usize> BoundedText<MIN, MAX> {
    /// # Errors
    /// If the text has fewer than `MIN` or more than `MAX` characters.
    pub fn parse(text: impl AsRef<str>) -> Result<Self, InvalidText> {
        let text = text.as_ref();
        check_length(text, MIN, MAX)?;
        Ok(Self(Characters::of(&without_nul(text))))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl<const MIN: usize, const MAX: usize> Serialize for BoundedText<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_str().serialize(serializer)
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<String> for BoundedText<MIN, MAX> {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        Self::parse(text)
    }
}

/// A text in which every secret that [`redact`] knows was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RedactedText(Box<str>);

impl RedactedText {
    /// A preview has at most this many characters.
    pub const PREVIEW_CHARS: usize = 100;

    /// Redacts a text as received.
    pub fn of(text: &str) -> Self {
        Self(redact(&without_nul(text)).into())
    }

    /// Redacts a text as received, then cuts it to [`Self::PREVIEW_CHARS`]: its first 97 characters and `...`.
    pub fn preview_of(text: &str) -> Self {
        let text = without_nul(text);
        let redacted = redact(&text);
        // Bytes are at least as many as characters, so that most texts need no counting.
        let is_longer = redacted.len() > Self::PREVIEW_CHARS && redacted.chars().nth(Self::PREVIEW_CHARS).is_some();
        match redacted.char_indices().nth(Self::PREVIEW_CHARS - 3) {
            Some((end, _)) if is_longer => Self([&redacted[..end], "..."].concat().into()),
            _ => Self(redacted.into()),
        }
    }

    /// A text that was redacted before it was stored.
    pub(crate) fn stored(text: String) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Postgres has no U+0000 in its texts.
pub(super) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(text) }
}

pub(super) fn check_length(text: &str, min: usize, max: usize) -> Result<(), InvalidText> {
    // A text has at least a quarter as many characters as bytes and at most as many, so that counting is rarely needed.
    if text.len() > max && text.chars().nth(max).is_some() {
        return Err(InvalidText::TooLong(max));
    }
    if text.len() < min * 4 && text.chars().count() < min {
        return Err(InvalidText::TooShort(min));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_characters_not_in_bytes() {
        assert!(SessionId::parse(&"é".repeat(255)).is_ok());
        assert_eq!(SessionId::parse(&"é".repeat(256)), Err(InvalidText::TooLong(255)));
        assert_eq!(SessionId::parse(""), Err(InvalidText::TooShort(1)));
        assert!(ToolName::parse("🙂").is_ok());
    }

    #[test]
    fn nul_is_refused_in_a_session_id_and_replaced_elsewhere() {
        assert_eq!(SessionId::parse("a\0b"), Err(InvalidText::Nul));
        assert_eq!(Text::parse("a\0b").unwrap().as_str(), "a\u{FFFD}b");
        assert_eq!(RedactedText::of("a\0b").as_str(), "a\u{FFFD}b");
    }

    #[test]
    fn a_preview_of_a_hundred_characters_is_left_whole_and_a_longer_one_is_cut_to_a_hundred() {
        let hundred = "x".repeat(100);
        assert_eq!(RedactedText::preview_of(&hundred).as_str(), hundred);
        let cut = RedactedText::preview_of(&"é".repeat(101));
        assert_eq!(cut.as_str(), format!("{}...", "é".repeat(97)));
    }
}
