//! Dead letters on their way in, in the transaction of their batch.

use sqlx::{PgConnection, types::Json};

use crate::{
    event::{RecordTimestamp, Refusal},
    record::{Record, RecordOffset, TopicPartition},
    store::error::StoreError,
};

use super::{LetterId, headers_to_json};

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

pub(in crate::store) async fn insert(
    connection: &mut PgConnection,
    letters: &[DeadLetter<'_>],
) -> Result<(), StoreError> {
    if letters.is_empty() {
        return Ok(());
    }
    /// One column of the rows.
    fn column<'a, T>(letters: &[DeadLetter<'a>], value: impl Fn(&DeadLetter<'a>) -> T) -> Vec<T> {
        letters.iter().map(value).collect()
    }
    let query = sqlx::query(INSERT)
        .bind(column(letters, |_| LetterId::new().0))
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
