//! A refusal is storable and quotes no value.

use sessionfold::event::Refusal;

use super::super::storable;

/// Digits, so that they may become a part of a number as well as of a text. No size, line or column is as large.
pub(super) const MARKER: &str = "918273645";

pub(super) fn check(refusal: &Refusal) {
    let path = refusal.field_path.as_deref().unwrap_or_default();
    storable::assert_text(path);
    storable::assert_text(&refusal.detail);
    assert!(!refusal.detail.contains(MARKER), "{refusal:?}");
    // A path is made of names. Only one of them can come from the record.
    assert!(refusal.detail == "unknown member" || !path.contains(MARKER), "{refusal:?}");
    assert!(path.chars().count() <= "payload.".len() + 64 + "...".len(), "{refusal:?}");
}
