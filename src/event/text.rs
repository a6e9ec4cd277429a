//! Texts that Postgres can hold: no U+0000, and no more characters than the wire allows.
//!
//! "Characters" are Unicode scalar values.

use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize, Serializer};

use super::redact::redact;

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
#[derive(Clone)]
pub struct SessionId(Characters);

/// Most session ids are UUIDs. A text as short as one lies in the value itself, since the memory of an event that was
/// decoded a while ago has to be waited for, and each place by itself.
#[derive(Clone)]
enum Characters {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Arc<str>),
}

/// The length of a UUID, and as much more as takes no more room.
const SHORT: usize = 38;

impl SessionId {
    pub const MAX_CHARS: usize = 255;

    /// # Errors
    /// If the text is empty, longer than 255 characters, or holds U+0000.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        check_length(text, 1, Self::MAX_CHARS)?;
        if text.contains('\0') {
            return Err(InvalidText::Nul);
        }
        Ok(Self(match u8::try_from(text.len()) {
            Ok(length) if text.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                Characters::Short { length, bytes }
            }
            _ => Characters::Long(text.into()),
        }))
    }

    pub fn as_str(&self) -> &str {
        match &self.0 {
            #[expect(clippy::expect_used, reason = "a whole text was copied there")]
            Characters::Short { .. } => std::str::from_utf8(self.as_bytes()).expect("the bytes of a text"),
            Characters::Long(text) => text,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Characters::Short { length, bytes } => &bytes[..usize::from(*length)],
            Characters::Long(text) => text.as_bytes(),
        }
    }
}

// Texts are ordered by their bytes.
impl Ord for SessionId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for SessionId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for SessionId {}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct BoundedText<const MIN: usize, const MAX: usize>(Box<str>);

/// A text of any length.
pub type Text = BoundedText<0, { usize::MAX }>;
pub type TaskId = BoundedText<0, 64>;
pub type ToolName = BoundedText<1, 255>;

impl<const MIN: usize, const MAX: usize> BoundedText<MIN, MAX> {
    /// # Errors
    /// If the text has fewer than `MIN` or more than `MAX` characters.
    pub fn parse(text: impl Into<Box<str>>) -> Result<Self, InvalidText> {
        let text = text.into();
        check_length(&text, MIN, MAX)?;
        Ok(Self(match without_nul(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(replaced) => replaced.into(),
        }))
    }

    pub fn as_str(&self) -> &str {
        &self.0
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
    fn session_ids_compare_as_their_texts_whether_they_are_short_or_long() {
        assert_eq!(size_of::<SessionId>(), 40);
        let texts: Vec<String> = ["", "a", "b", "aé"]
            .into_iter()
            .flat_map(|end| [0, 1, 36, 37, 38, 39, 40].map(|length| "a".repeat(length) + end))
            .filter(|text| !text.is_empty())
            .collect();
        let hash = |id: &SessionId| std::hash::BuildHasher::hash_one(&foldhash::fast::FixedState::default(), id);
        for text in &texts {
            let id = SessionId::parse(text).unwrap();
            assert_eq!((id.as_str(), id.to_string()), (text.as_str(), text.clone()));
            for other in &texts {
                let (other_id, order) = (SessionId::parse(other).unwrap(), text.cmp(other));
                assert_eq!((id.cmp(&other_id), id == other_id), (order, order.is_eq()), "{text} {other}");
                assert_eq!(hash(&id) == hash(&other_id), order.is_eq(), "{text} {other}");
            }
        }
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
