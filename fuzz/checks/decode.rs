//! What decoding promises for any record, and for a record with a secret in it.

mod any_record;
mod planted_secret;
mod refusal;
mod round_trip;

use super::input::Input;

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() { planted_secret::check(input) } else { any_record::check(input) }
}
