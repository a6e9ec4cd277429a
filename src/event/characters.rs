//! Texts that lie in the value itself where they are short, as most are: the memory of an event that was decoded a while
//! ago has to be waited for, each place by itself, and an allocation that one thread makes and another frees is dear.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
};

/// A text, in the value itself where it has up to `SHORT` bytes. It compares, hashes and prints as the text.
#[derive(Clone)]
pub(super) enum Characters<const SHORT: usize, Long> {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Long),
}

impl<const SHORT: usize, Long> Characters<SHORT, Long> {
    pub(super) fn of<'a>(text: &'a str) -> Self
    where
        Long: From<&'a str>,
    {
        match u8::try_from(text.len()) {
            Ok(length) if text.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                Self::Short { length, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }
}

impl<const SHORT: usize, Long: Deref<Target = str>> Characters<SHORT, Long> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            #[expect(clippy::expect_used, reason = "a whole text was copied there")]
            Self::Short { .. } => std::str::from_utf8(self.as_bytes()).expect("the bytes of a text"),
            Self::Long(text) => text,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }
}

// Texts are ordered by their bytes.
impl<const SHORT: usize, Long: Deref<Target = str>> Ord for Characters<SHORT, Long> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl<const SHORT: usize, Long: Deref<Target = str>> PartialOrd for Characters<SHORT, Long> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const SHORT: usize, Long: Deref<Target = str>> PartialEq for Characters<SHORT, Long> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl<const SHORT: usize, Long: Deref<Target = str>> Eq for Characters<SHORT, Long> {}

impl<const SHORT: usize, Long: Deref<Target = str>> Hash for Characters<SHORT, Long> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl<const SHORT: usize, Long: Deref<Target = str>> fmt::Debug for Characters<SHORT, Long> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn texts_compare_alike_whether_they_are_short_or_long() {
        type Short = Characters<38, Box<str>>;
        let texts: Vec<String> = ["", "a", "b", "aé"]
            .into_iter()
            .flat_map(|end| [0, 1, 36, 37, 38, 39, 40, 300].map(|length| "a".repeat(length) + end))
            .collect();
        let hash = |text: &Short| foldhash::fast::FixedState::default().hash_one(text);
        for text in &texts {
            let characters = Short::of(text);
            assert_eq!(characters.as_str(), text);
            assert_eq!(format!("{characters:?}"), format!("{text:?}"));
            assert_eq!(matches!(characters, Characters::Short { .. }), text.len() <= 38);
            for other in &texts {
                let (other_characters, order) = (Short::of(other), text.cmp(other));
                assert_eq!(characters.cmp(&other_characters), order, "{text} {other}");
                assert_eq!(characters == other_characters, order.is_eq(), "{text} {other}");
                assert_eq!(hash(&characters) == hash(&other_characters), order.is_eq(), "{text} {other}");
            }
        }
    }
}
