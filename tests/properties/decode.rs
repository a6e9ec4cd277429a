//! Decoding undoes encoding, and has an answer to any bytes.

use proptest::{option, prelude::*, sample::Index};
use serde_json::Value;
use sessionfold::{
    event::{
        Body, BoundedText, Count, Decoded, Decoder, DurationMs, DurationSeconds, EndReason, Ended, Event, EventKind,
        EventTime, HookSource, Prompt, RedactedText, SessionId, Started, Tool, WireRecord, redact,
    },
    laws,
};
use uuid::Uuid;

use crate::config;

fn decode(bytes: &[u8], kind: Option<&str>) -> Decoded {
    let kind_header = kind.map(|kind| Some(kind.as_bytes()));
    Decoder::default().decode(WireRecord { value: Some(bytes), kind_header, timestamp: None })
}

/// Any characters, those among them that JSON escapes, of `min` to `max`; nothing that would be redacted.
fn texts(min: usize, max: usize) -> impl Strategy<Value = String> {
    let character =
        prop_oneof![4 => any::<char>(), 1 => prop::sample::select(vec!['"', '\\', '\n', '/', '\u{1}', '\u{7f}'])];
    let characters = character.prop_filter("U+0000 is replaced", |character| *character != '\0');
    prop::collection::vec(characters, min..=max)
        .prop_map(String::from_iter)
        .prop_filter("a secret is replaced", |text| redact(text) == text.as_str())
}

fn bounded<const MIN: usize, const MAX: usize>() -> impl Strategy<Value = BoundedText<MIN, MAX>> {
    texts(MIN, MAX.min(12)).prop_map(|text| BoundedText::parse(text).unwrap())
}

fn redacted() -> impl Strategy<Value = RedactedText> {
    texts(0, 12).prop_map(|text| RedactedText::of(&text))
}

fn ids() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

/// From the first microsecond of the year 0001 to the last of 9999.
fn times() -> impl Strategy<Value = EventTime> {
    let micros = |text: &str| EventTime::parse(text).unwrap().micros_since_epoch();
    (micros("0001-01-01T00:00:00Z")..=micros("9999-12-31T23:59:59.999999Z"))
        .prop_map(|micros| EventTime::from_utc(chrono::DateTime::from_timestamp_micros(micros).unwrap()).unwrap())
}

fn counts() -> impl Strategy<Value = Count> {
    (0..=i64::MAX).prop_map(|count| Count::new(count).unwrap())
}

fn bodies() -> impl Strategy<Value = Body> {
    let started = (bounded(), option::of(bounded()), prop::sample::select(HookSource::ALL)).prop_map(
        |(working_directory, git_branch, hook_source)| {
            Body::Started(Started { working_directory, git_branch, hook_source })
        },
    );
    let seconds = (0.0..=DurationSeconds::MAX).prop_map(|seconds| DurationSeconds::new(seconds).unwrap());
    let ended = (prop::sample::select(EndReason::ALL), option::of(seconds), counts()).prop_map(
        |(reason, duration_seconds, tools_used_count)| {
            Body::Ended(Ended { reason, duration_seconds, tools_used_count })
        },
    );
    let prompt = (ids(), redacted(), counts(), option::of(redacted())).prop_map(
        |(prompt_id, prompt_preview, prompt_length, detected_intent)| {
            Body::Prompt(Prompt { prompt_id, prompt_preview, prompt_length, detected_intent })
        },
    );
    let millis = (0..=DurationMs::MAX).prop_map(|millis| DurationMs::new(millis.into()).unwrap());
    let tool = (ids(), bounded(), any::<bool>(), option::of(millis), option::of(redacted())).prop_map(
        |(tool_execution_id, tool_name, success, duration_ms, summary)| {
            Body::Tool(Tool { tool_execution_id, tool_name, success, duration_ms, summary })
        },
    );
    prop_oneof![started, ended, prompt, tool]
}

fn valid_events() -> impl Strategy<Value = Event> {
    let session_ids = texts(1, 12).prop_map(|text| SessionId::parse(&text).unwrap());
    let of_session = (session_ids, ids(), ids(), ids(), times());
    (of_session, option::of(bounded()), redacted(), bodies()).prop_map(
        |((session_id, entity_id, correlation_id, causation_id, emitted_at), task_id, action_description, body)| {
            Event { session_id, entity_id, correlation_id, causation_id, emitted_at, task_id, action_description, body }
        },
    )
}

/// The JSON of an object whose members, and theirs, come in the order of the ranks.
fn shuffled(value: &Value, ranks: &mut impl Iterator<Item = u8>) -> String {
    let Value::Object(members) = value else { return value.to_string() };
    let mut written: Vec<(u8, String)> = members
        .iter()
        .map(|(name, member)| {
            let rank = ranks.next().unwrap_or_default();
            (rank, format!("{}: {}", Value::from(name.as_str()), shuffled(member, ranks)))
        })
        .collect();
    written.sort_by_key(|(rank, _)| *rank);
    let members: Vec<String> = written.into_iter().map(|(_, member)| member).collect();
    format!("{{{}}}", members.join(" ,"))
}

/// One thing that goes wrong with bytes.
#[derive(Clone, Debug)]
enum Damage {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    /// A piece of the text comes twice, so that members repeat and braces don't match.
    Repeat(Index, usize),
    Truncate(Index),
}

fn damages() -> impl Strategy<Value = Damage> {
    let bytes = || prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\":,\\0-9eEn tu".to_vec())];
    prop_oneof![
        4 => (any::<Index>(), bytes()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        4 => (any::<Index>(), bytes()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        4 => any::<Index>().prop_map(Damage::Remove),
        1 => (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        1 => any::<Index>().prop_map(Damage::Truncate),
    ]
}

fn damage(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    match damage {
        Damage::Replace(at, byte) => *at.get_mut(bytes) = *byte,
        Damage::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
        Damage::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
        Damage::Repeat(at, length) => {
            let begin = at.index(bytes.len());
            let piece = bytes[begin..(begin + length).min(bytes.len())].to_vec();
            bytes.splice(begin..begin, piece);
        }
        Damage::Truncate(at) => bytes.truncate(at.index(bytes.len())),
    }
}

/// Decodes in all the ways that a record can be made of the bytes. An event that comes out can be written down, and
/// read again.
fn decode_in_every_way(bytes: &[u8]) {
    let kinds = EventKind::ALL.iter().map(|kind| Some(kind.as_str())).chain([None]);
    for kind in kinds {
        if let Decoded::Event(event) = decode(bytes, kind) {
            let again = decode(event.to_json().to_string().as_bytes(), None);
            assert!(matches!(again, Decoded::Event(_)), "{again:?}");
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_valid_event_decodes_to_itself_once_encoded(event in valid_events()) {
        let json = event.to_json();
        let expected = Decoded::Event(event.clone());
        prop_assert_eq!(decode(json.to_string().as_bytes(), None), expected.clone());
        let bare = json["payload"].to_string();
        prop_assert_eq!(decode(bare.as_bytes(), Some(event.kind().as_str())), expected);
    }

    #[test]
    fn the_order_of_members_makes_no_difference(
        event in laws::events(),
        ranks in prop::collection::vec(any::<u8>(), 20),
    ) {
        let text = shuffled(&event.to_json(), &mut ranks.into_iter());
        prop_assert_eq!(decode(text.as_bytes(), None), Decoded::Event(event), "{}", text);
    }

    #[test]
    fn a_damaged_event_has_an_answer(
        event in laws::events(),
        is_bare in any::<bool>(),
        damages in prop::collection::vec(damages(), 1..6),
    ) {
        let json = event.to_json();
        let mut bytes = if is_bare { &json["payload"] } else { &json }.to_string().into_bytes();
        damages.iter().for_each(|one| damage(&mut bytes, one));
        decode_in_every_way(&bytes);
    }

    #[test]
    fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_in_every_way(&bytes);
    }

    #[test]
    fn any_sequence_of_pieces_of_json_has_an_answer(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
    ) {
        decode_in_every_way(pieces.concat().as_bytes());
    }
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    " ",
    "\"",
    "\"payload\"",
    "\"event_type\"",
    "\"emitted_at\"",
    "\"hook.tool.executed\"",
    "\"session_id\"",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\\",
    "null",
    "true",
    "-0",
    "1e999",
    "18446744073709551616",
    "0.1",
    "{\"event_type\":\"hook.tool.executed\",\"payload\":{",
    "{\"payload\":",
    "\u{feff}",
    "\"é\"",
];
