//! As much of JSON Schema as the document uses.

use serde_json::Value;

/// Why a value is not by the schema of a document; nothing where it is.
pub fn violation(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.strip_prefix('#').unwrap();
        return violation(document, document.pointer(pointer).unwrap_or_else(|| panic!("{name}")), value);
    }
    if let Some(any) = schema["oneOf"].as_array() {
        let fitting = any.iter().filter(|one| violation(document, one, value).is_none()).count();
        return (fitting != 1).then(|| format!("{fitting} of oneOf fit {value}"));
    }
    if !is_of_type(&schema["type"], value) {
        return Some(format!("{value} is not of type {}", schema["type"]));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Some(format!("{value} is none of {allowed:?}"));
    }
    if let (Some("date-time"), Some(text)) = (schema["format"].as_str(), value.as_str())
        && chrono::DateTime::parse_from_rfc3339(text).is_err()
    {
        return Some(format!("{text} is no time"));
    }
    match value {
        Value::Array(items) => items.iter().find_map(|item| violation(document, &schema["items"], item)),
        Value::Object(members) => {
            let required = schema["required"].as_array().into_iter().flatten();
            let mut missing = required.filter(|name| !members.contains_key(name.as_str().unwrap()));
            if let Some(name) = missing.next() {
                return Some(format!("{name} is missing"));
            }
            members.iter().find_map(|(name, member)| {
                let known = schema["properties"].get(name);
                match known.unwrap_or(&schema["additionalProperties"]) {
                    Value::Bool(false) => Some(format!("{name} is too much")),
                    Value::Null | Value::Bool(true) => None,
                    schema => violation(document, schema, member).map(|why| format!("{name}: {why}")),
                }
            })
        }
        _ => None,
    }
}

fn is_of_type(kind: &Value, value: &Value) -> bool {
    match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| is_of_type(kind, value)),
        Value::String(kind) => match kind.as_str() {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{other}"),
        },
        _ => true,
    }
}
