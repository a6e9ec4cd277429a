//! Reads an input from the left, so that a small change of its bytes is a small change of its meaning.

use sessionfold::event::RecordTimestamp;

/// What is left of an input. Where nothing is left it gives zeros and empty parts.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// A length of one byte, then as many bytes, or as many as are left.
    pub(crate) fn part(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (part, rest) = self.0.split_at(length);
        self.0 = rest;
        part
    }

    pub(crate) fn nullable_part(&mut self) -> Option<&'a [u8]> {
        self.flag().then(|| self.part())
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// None, one of today, or any.
    pub(crate) fn record_timestamp(&mut self) -> Option<RecordTimestamp> {
        match self.byte() % 3 {
            0 => None,
            1 => RecordTimestamp::from_millis(1_772_355_600_000), // 2026-03-01T09:00:00Z
            _ => RecordTimestamp::from_millis(i64::from_be_bytes(std::array::from_fn(|_| self.byte()))),
        }
    }
}
