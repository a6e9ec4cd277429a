//! A dead letter keeps its record: what the columns of the table hold is the record byte for byte, and decodes to the
//! same verdict.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;
use sessionfold::{
    event::{Decoder, RecordTimestamp},
    record::{Header, Record},
    store::{headers_from_json, headers_to_json},
};

use super::{input::Input, storable};

pub fn check(data: &[u8]) {
    let record = record(Input::new(data));
    let read_back = Record {
        value: record.value.clone(), // `bytea` holds any bytes
        key: record.key.clone(),
        headers: headers_from_column(&headers_column(&record.headers)),
        timestamp: record.timestamp.and_then(through_column),
    };
    // A timestamp that no calendar has is not kept. No event is later than it, so the verdict is that of none.
    let has_date = |timestamp: &RecordTimestamp| timestamp.as_utc().is_some();
    let expected = Record { timestamp: record.timestamp.filter(has_date), ..record.clone() };
    assert_eq!(read_back, expected);

    let decoder = Decoder::default();
    assert_eq!(decoder.decode(read_back.wire()), decoder.decode(record.wire()));
}

fn record(mut input: Input<'_>) -> Record {
    let headers = (0..input.byte() % 8).map(|_| header(&mut input)).collect();
    Record {
        timestamp: input.record_timestamp(),
        key: input.nullable_part().map(Into::into),
        headers,
        value: input.flag().then(|| input.rest().into()),
    }
}

fn header(input: &mut Input<'_>) -> Header {
    // The one header that decoding looks at would hardly be hit by chance.
    let key = if input.flag() { b"event_type" } else { input.part() };
    Header { key: key.into(), value: input.nullable_part().map(Into::into) }
}

/// The column `headers`, of type `jsonb`, as the text that Postgres gives back.
fn headers_column(headers: &[Header]) -> String {
    let json = headers_to_json(headers);
    storable::assert_json(&json);
    assert_eq!(headers_from_json(&json).as_deref(), Some(headers));
    json.to_string()
}

/// The inverse of [`headers_to_json`].
fn headers_from_column(column: &str) -> Vec<Header> {
    let Ok(Value::Array(headers)) = serde_json::from_str(column) else { panic!("no array: {column}") };
    headers.iter().map(header_from_json).collect()
}

fn header_from_json(header: &Value) -> Header {
    let members = header.as_object().expect("a header is an object");
    assert_eq!(members.len(), 2, "a name and a value: {header}");
    let part = |name: &str| match (members.get(name), members.get(&format!("{name}_base64"))) {
        (Some(Value::Null), None) => None,
        (Some(Value::String(text)), None) => Some(text.as_bytes().into()),
        (None, Some(Value::String(base64))) => Some(BASE64.decode(base64).expect("base64").into()),
        _ => panic!("neither text nor base64: {header}"),
    };
    Header { key: part("key").expect("a name is never null"), value: part("value") }
}

/// A timestamp after the column `record_timestamp`, of type `timestamptz`.
fn through_column(timestamp: RecordTimestamp) -> Option<RecordTimestamp> {
    RecordTimestamp::from_millis(timestamp.as_utc()?.timestamp_millis())
}
