//! Any bytes decode without a panic: to an event that is storable and survives encoding, or to a refusal that quotes
//! no value.

use sessionfold::event::{Decoded, Decoder, EventKind, WireRecord};

use super::{super::input::Input, refusal, round_trip};

const IGNORED: &str = "hook.heartbeat";

pub(super) fn check(mut input: Input<'_>) {
    let kind_header = match input.byte() % 8 {
        0 => None,
        1 => Some(None),
        kind @ 2..=5 => Some(Some(EventKind::ALL[usize::from(kind) - 2].as_str().as_bytes())),
        6 => Some(Some(refusal::MARKER.as_bytes())),
        _ => Some(Some(input.part())),
    };
    let timestamp = input.record_timestamp();
    let place = usize::from(input.byte()) << 8 | usize::from(input.byte());
    let value = input.rest();
    let decoder = Decoder { max_value_bytes: 2_048, ignored_kinds: [IGNORED.to_owned()].into(), ..Decoder::default() };

    let judge = |value: Option<&[u8]>| match decoder.decode(WireRecord { value, kind_header, timestamp }) {
        Decoded::Event(event) => round_trip::check(&event),
        Decoded::Refused(refused) => refusal::check(&refused),
        Decoded::Ignored => {}
    };
    judge(None);
    judge(Some(value));
    judge(Some(&marked(value, place)));
}

/// The marker stands somewhere in the value: in a text, in a number, in a name, or between them.
fn marked(value: &[u8], place: usize) -> Vec<u8> {
    let (before, after) = value.split_at(place % (value.len() + 1));
    [before, refusal::MARKER.as_bytes(), after].concat()
}
