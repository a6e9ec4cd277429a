//! What Postgres can hold: any text and any JSON without U+0000.

use serde_json::Value;

pub(crate) fn assert_text(text: &str) {
    assert!(!text.contains('\0'), "U+0000 in {text:?}");
}

/// Names of members included.
pub(crate) fn assert_json(value: &Value) {
    match value {
        Value::String(text) => assert_text(text),
        Value::Array(elements) => elements.iter().for_each(assert_json),
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            assert_text(name);
            assert_json(member);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
