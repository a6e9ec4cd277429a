//! The column `headers`, there and back.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};

use crate::record::Header;

/// Headers as the column `headers` keeps them: in their order, each with the members `key` and `value`, which are texts
/// where Postgres can hold them as such, and null for a null value. A part that is not UTF-8 or holds U+0000 stands in
/// base64 instead, under `key_base64` or `value_base64`. So nothing is lost.
pub fn headers_to_json(headers: &[Header]) -> Value {
    let header = |header: &Header| {
        let mut members = Map::new();
        put(&mut members, "key", Some(&header.key));
        put(&mut members, "value", header.value.as_deref());
        Value::Object(members)
    };
    headers.iter().map(header).collect()
}

fn put(members: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        members.insert(name.to_owned(), Value::Null);
        return;
    };
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => members.insert(name.to_owned(), text.into()),
        _ => members.insert(format!("{name}_base64"), BASE64.encode(bytes).into()),
    };
}

/// The inverse of [`headers_to_json`]. None for what it can't have made.
pub fn headers_from_json(headers: &Value) -> Option<Vec<Header>> {
    headers.as_array()?.iter().map(header_from_json).collect()
}

fn header_from_json(header: &Value) -> Option<Header> {
    let members = header.as_object()?;
    Some(Header { key: take(members, "key")??, value: take(members, "value")? })
}

/// The inner none is a null value.
#[expect(clippy::option_option, reason = "there may be no such part, and a part may be null")]
fn take(members: &Map<String, Value>, name: &str) -> Option<Option<Box<[u8]>>> {
    match (members.get(name), members.get(&format!("{name}_base64"))) {
        (Some(Value::Null), None) => Some(None),
        (Some(Value::String(text)), None) => Some(Some(text.as_bytes().into())),
        (None, Some(Value::String(base64))) => Some(Some(BASE64.decode(base64).ok()?.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    #[test]
    fn headers_are_kept_byte_for_byte() {
        let header = |key: &[u8], value: Option<&[u8]>| Header { key: key.into(), value: value.map(Into::into) };
        let headers = [
            header(b"event_type", Some(b"hook.tool.executed")),
            header(b"event_type", None),
            header(b"\xff", Some(b"")),
            header(b"trace", Some(b"a\0b")),
        ];
        let expected = serde_json::json!([
            {"key": "event_type", "value": "hook.tool.executed"},
            {"key": "event_type", "value": null},
            {"key_base64": "/w==", "value": ""},
            {"key": "trace", "value_base64": "YQBi"},
        ]);
        assert_eq!(headers_to_json(&headers), expected);
    }

    #[test]
    fn what_no_header_comes_to_is_not_read_as_one() {
        for json in [
            serde_json::json!({}),
            serde_json::json!([{"key": null, "value": "a"}]),
            serde_json::json!([{"key": "a"}]),
            serde_json::json!([{"key": "a", "key_base64": "YQ==", "value": null}]),
            serde_json::json!([{"key": "a", "value_base64": "*"}]),
            serde_json::json!([{"key": "a", "value": 1}]),
        ] {
            assert_eq!(headers_from_json(&json), None, "{json}");
        }
    }

    fn parts() -> impl Strategy<Value = Box<[u8]>> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..12).prop_map(Into::into);
        let texts = any::<String>().prop_map(|text| text.into_bytes().into());
        prop_oneof![bytes, texts]
    }

    proptest! {
        #[test]
        fn headers_come_back_as_they_were(
            headers in proptest::collection::vec((parts(), proptest::option::of(parts())), 0..6)
        ) {
            let headers: Vec<Header> = headers.into_iter().map(|(key, value)| Header { key, value }).collect();
            prop_assert_eq!(headers_from_json(&headers_to_json(&headers)), Some(headers));
        }
    }
}
