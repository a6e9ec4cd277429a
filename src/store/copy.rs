//! Rows into a table by COPY, in Postgres's binary format: the cheapest way in. Postgres plans nothing, keeps no second
//! copy of the batch, and fills a page with rows at a time.
//!
//! The format: <https://www.postgresql.org/docs/current/sql-copy.html>, under "Binary Format".

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::StoreError;

/// Signature, flags, and the length of an extension that there isn't.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// How many bytes go to Postgres at a time, or a little more; the last time up to twice as many. The driver copies them
/// once more.
///
/// It doesn't set TCP_NODELAY, so that the end of the COPY isn't sent before what was sent last is acknowledged. Linux puts
/// that off for 40 ms unless it is more than a TCP segment, of which loopback's are the largest. So the last chunk is no
/// smaller than the others.
const CHUNK: usize = 64 << 10;

/// What stands before a `jsonb`'s text: the version of its format.
const JSONB_VERSION: u8 = 1;

/// 2000-01-01, from which Postgres counts microseconds.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Whether COPY is cheaper than INSERT for rows of at least so many bytes together. A row costs less by it, but it takes
/// two round trips, and one of less than a chunk waits for TCP.
pub(super) const fn pays(bytes: usize) -> bool {
    bytes >= CHUNK
}

/// Runs a `COPY … FROM STDIN (FORMAT binary)` with these rows, or nothing where there are none. `write` writes a row's
/// values in the statement's order. Returns how many were written.
///
/// # Errors
/// What Postgres has against a row it says only at the end. Nothing is written then.
pub(super) async fn copy_in<T>(
    connection: &mut PgConnection,
    statement: &'static str,
    rows: impl Iterator<Item = T>,
    write: impl Fn(&mut RowWriter<'_>, T),
) -> Result<u64, StoreError> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(0);
    }
    let mut copy = connection.copy_in_raw(statement).await?;
    let mut chunks = Chunks::new();
    for row in rows {
        if let Some(chunk) = chunks.push(|writer| write(writer, row)) {
            copy.send(chunk).await?;
        }
    }
    copy.send(chunks.last()).await?;
    Ok(copy.finish().await?)
}

/// Rows on their way to Postgres, in chunks of which none is small, unless it is the only one.
struct Chunks {
    filling: Vec<u8>,
    /// A whole one, which may be the last.
    whole: Vec<u8>,
    /// The one before.
    ready: Vec<u8>,
}

impl Chunks {
    fn new() -> Self {
        Self { filling: HEADER.to_vec(), whole: Vec::new(), ready: Vec::new() }
    }

    /// Adds a row. Returns a chunk that is to be sent, if there is one.
    fn push(&mut self, write: impl FnOnce(&mut RowWriter<'_>)) -> Option<&[u8]> {
        RowWriter::write(&mut self.filling, write);
        if self.filling.len() < CHUNK {
            return None;
        }
        self.ready.clear();
        std::mem::swap(&mut self.filling, &mut self.ready);
        std::mem::swap(&mut self.ready, &mut self.whole);
        (!self.ready.is_empty()).then_some(&self.ready)
    }

    /// What is left, with the end.
    fn last(mut self) -> Vec<u8> {
        self.whole.append(&mut self.filling);
        self.whole.extend_from_slice(&TRAILER);
        self.whole
    }
}

/// Writes the values of one row. Their types must be those of the columns, since Postgres converts nothing here.
pub(super) struct RowWriter<'b> {
    bytes: &'b mut Vec<u8>,
    values: i16,
}

impl RowWriter<'_> {
    /// A row stands behind the number of its values.
    fn write(bytes: &mut Vec<u8>, write: impl FnOnce(&mut RowWriter<'_>)) {
        let start = bytes.len();
        bytes.extend_from_slice(&[0, 0]);
        let mut writer = RowWriter { bytes, values: 0 };
        write(&mut writer);
        let values = writer.values.to_be_bytes();
        bytes[start..start + values.len()].copy_from_slice(&values);
    }

    fn value(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(&length_of(bytes));
        self.bytes.extend_from_slice(bytes);
        self.values += 1;
    }

    /// A value whose length is known once it is written.
    fn written_value(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&NULL);
        let value = self.bytes.len();
        write(self.bytes);
        let length = length_of(&self.bytes[value..]);
        self.bytes[start..value].copy_from_slice(&length);
        self.values += 1;
    }

    pub(super) fn bytea(&mut self, bytes: &[u8]) {
        self.value(bytes);
    }

    /// A map's keys must be texts.
    pub(super) fn jsonb(&mut self, value: &impl Serialize) {
        self.written_value(|bytes| {
            bytes.push(JSONB_VERSION);
            #[expect(clippy::expect_used, reason = "a vector takes all bytes, and keys that are texts are JSON's")]
            serde_json::to_writer(bytes, value).expect("what has texts for keys can be written as JSON");
        });
    }

    /// An array of texts, none of them null.
    pub(super) fn texts(&mut self, texts: &[String]) {
        /// The object id of the type `text`.
        const TEXT: i32 = 25;
        let dimensions = i32::from(!texts.is_empty());
        self.written_value(|bytes| {
            for number in [dimensions, 0, TEXT] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            if dimensions > 0 {
                bytes.extend_from_slice(&length_of(texts));
                // The first one's index.
                bytes.extend_from_slice(&1_i32.to_be_bytes());
            }
            for text in texts {
                bytes.extend_from_slice(&length_of(text.as_bytes()));
                bytes.extend_from_slice(text.as_bytes());
            }
        });
    }

    pub(super) fn text(&mut self, text: &str) {
        self.value(text.as_bytes());
    }

    pub(super) fn uuid(&mut self, id: Uuid) {
        self.value(id.as_bytes());
    }

    pub(super) fn timestamptz(&mut self, instant: DateTime<Utc>) {
        self.bigint(instant.timestamp_micros() - POSTGRES_EPOCH_MICROS);
    }

    pub(super) fn bigint(&mut self, number: i64) {
        self.value(&number.to_be_bytes());
    }

    pub(super) fn integer(&mut self, number: i32) {
        self.value(&number.to_be_bytes());
    }

    pub(super) fn double_precision(&mut self, number: f64) {
        self.value(&number.to_be_bytes());
    }

    pub(super) fn boolean(&mut self, truth: bool) {
        self.value(&[truth.into()]);
    }

    /// Null, or what `write` makes of the value.
    pub(super) fn nullable<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => {
                self.bytes.extend_from_slice(&NULL);
                self.values += 1;
            }
        }
    }
}

fn length_of<T>(values: &[T]) -> [u8; 4] {
    #[expect(clippy::expect_used, reason = "a record has 100 MiB at most, and so has any text in it")]
    let length = i32::try_from(values.len()).expect("a value has fewer than 2^31 bytes");
    length.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut RowWriter<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        RowWriter::write(&mut bytes, write);
        bytes
    }

    #[test]
    fn a_row_stands_behind_the_number_of_its_values_and_a_value_behind_its_length() {
        assert_eq!(written(|row| row.text("aä")), b"\0\x01\0\0\0\x03a\xc3\xa4");
        let two = written(|row| {
            row.boolean(true);
            row.nullable(Some(5), RowWriter::integer);
        });
        assert_eq!(two, b"\0\x02\0\0\0\x01\x01\0\0\0\x04\0\0\0\x05");
    }

    #[test]
    fn no_chunk_is_small_unless_it_is_the_only_one_and_together_they_are_the_rows() {
        // A row has 6 bytes beside its text; the first one stands behind the header.
        let full = CHUNK - HEADER.len() - 6;
        for lengths in [
            &[1][..],
            &[full - 1],
            &[full],
            &[full, 1],
            &[full + 1, CHUNK, CHUNK - 7, 2],
            &[1, 5 * CHUNK, 1],
            &[300; 1_000],
        ] {
            let texts = || lengths.iter().map(|length| "x".repeat(*length));
            let (mut chunks, mut sent) = (Chunks::new(), Vec::new());
            for text in texts() {
                sent.extend(chunks.push(|row| row.text(&text)).map(<[u8]>::to_vec));
            }
            sent.push(chunks.last());
            assert!(sent.len() == 1 || sent.iter().all(|chunk| chunk.len() >= CHUNK), "{lengths:?}");
            let rows: Vec<u8> = texts().flat_map(|text| written(|row| row.text(&text))).collect();
            assert_eq!(sent.concat(), [HEADER, &rows, &TRAILER].concat(), "{lengths:?}");
        }
    }

    #[test]
    fn a_value_that_is_written_stands_behind_its_length() {
        assert_eq!(written(|row| row.jsonb(&["a"])), b"\0\x01\0\0\0\x06\x01[\"a\"]");
        let empty = b"\0\x01\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0\x19";
        assert_eq!(written(|row| row.texts(&[])), empty);
        let one = b"\0\x01\0\0\0\x19\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\x01\0\0\0\x01\0\0\0\x01a";
        assert_eq!(written(|row| row.texts(&["a".to_owned()])), one);
    }

    #[test]
    fn null_is_a_value_without_bytes() {
        assert_eq!(written(|row| row.nullable(None, RowWriter::text)), b"\0\x01\xff\xff\xff\xff");
    }

    #[test]
    fn time_is_counted_from_the_year_2000() {
        let instant = "2000-01-01T00:00:00.000001Z".parse().unwrap();
        assert_eq!(written(|row| row.timestamptz(instant)), b"\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x01");
    }
}
