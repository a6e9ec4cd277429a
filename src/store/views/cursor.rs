//! Positions in a list, as texts that say nothing to whoever hands them back.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

/// A text that is no position, or one in another list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position in this list: take the one that was printed at the end of a page, with the same sorting")]
pub struct InvalidCursor;

/// `list` tells the lists apart, so that a position in one isn't taken for one in another.
pub(super) fn encode(list: &str, position: impl Serialize) -> String {
    // Texts and numbers always have a JSON form.
    let json = serde_json::to_vec(&(list, position)).unwrap_or_default();
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

pub(super) fn decode<T: DeserializeOwned>(list: &str, text: &str) -> Result<T, InvalidCursor> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
    let (of, position): (String, T) = serde_json::from_slice(&json).map_err(|_| InvalidCursor)?;
    if of == list { Ok(position) } else { Err(InvalidCursor) }
}
