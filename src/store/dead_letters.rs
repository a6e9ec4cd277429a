//! Records that are no good events, kept byte for byte.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::{RecordTimestamp, Refusal},
    record::{Header, Record, RecordOffset, TopicPartition},
};

use super::error::StoreError;

/// A record that is read again is no second dead letter. One of a topic that was made anew may stand where an older one
/// did, and is another.
pub(super) const INSERT: &str = "/* insert_dead_letters */
    INSERT INTO dead_letters (id, topic, partition, record_offset, record_timestamp, key, value, headers, reason,
        field_path, detail)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::bigint[], $5::timestamptz[], $6::bytea[], $7::bytea[],
        $8::jsonb[], $9::text[], $10::text[], $11::text[])
        AS n(id, topic, partition, record_offset, record_timestamp, key, value, headers, reason, field_path, detail)
    WHERE NOT EXISTS (
        SELECT FROM dead_letters d
        WHERE d.topic = n.topic AND d.partition = n.partition AND d.record_offset = n.record_offset
            AND d.record_timestamp IS NOT DISTINCT FROM n.record_timestamp
            AND d.key IS NOT DISTINCT FROM n.key AND d.value IS NOT DISTINCT FROM n.value AND d.headers = n.headers)";

/// A record, where it stood, and why it is here.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    pub partition: &'a TopicPartition,
    pub offset: RecordOffset,
    pub record: &'a Record,
    pub refusal: &'a Refusal,
}

pub(super) async fn insert(connection: &mut PgConnection, letters: &[DeadLetter<'_>]) -> Result<(), StoreError> {
    if letters.is_empty() {
        return Ok(());
    }
    /// One column of the rows.
    fn column<'a, T>(letters: &[DeadLetter<'a>], value: impl Fn(&DeadLetter<'a>) -> T) -> Vec<T> {
        letters.iter().map(value).collect()
    }
    let query = sqlx::query(INSERT)
        .bind(column(letters, |_| Uuid::now_v7()))
        .bind(column(letters, |letter| &*letter.partition.topic))
        .bind(column(letters, |letter| letter.partition.partition))
        .bind(column(letters, |letter| letter.offset.get()))
        .bind(column(letters, |letter| letter.record.timestamp.and_then(RecordTimestamp::as_utc)))
        .bind(column(letters, |letter| letter.record.key.as_deref()))
        .bind(column(letters, |letter| letter.record.value.as_deref()))
        .bind(column(letters, |letter| Json(headers_to_json(&letter.record.headers))))
        .bind(column(letters, |letter| letter.refusal.reason.as_str()))
        .bind(column(letters, |letter| letter.refusal.field_path.as_deref()))
        .bind(column(letters, |letter| &*letter.refusal.detail));
    query.execute(connection).await?;
    Ok(())
}

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

#[cfg(test)]
mod tests {
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
}
