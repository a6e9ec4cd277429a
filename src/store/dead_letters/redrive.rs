//! Dead letters on their way out: read in batches, and settled in the transaction that takes in their events.
//!
//! A letter that was read is settled only as it was read, by its status and its number of attempts. They are to a letter
//! what the checkpoint is to a partition: of two operators who redrive it at once, the second one is fenced.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::{RecordTimestamp, Refusal},
    record::{Record, RecordOffset, TopicPartition},
    store::{Store, checkpoints::Fenced, error::StoreError, transaction::TransactionSpec},
};

use super::{
    LetterFilter, LetterId, LetterStatus, headers_from_json,
    list::{self, of_filter},
};

/// The first letters behind one, as many as fit, and one at least. Of those that aren't tried again only what names
/// them.
pub(in crate::store) const PAGE: &str = concat!(
    "/* letters_to_redrive */
    SELECT d.id, d.attempts, d.reason, d.topic, d.partition, d.record_offset, d.record_timestamp, d.headers,
        CASE WHEN d.attempts < $10::bigint THEN d.key END, CASE WHEN d.attempts < $10::bigint THEN d.value END
    FROM (
        SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS bytes_before
        FROM (
            SELECT d.id, CASE WHEN d.attempts < $10::bigint THEN coalesce(octet_length(d.value), 0)
                + coalesce(octet_length(d.key), 0) + pg_column_size(d.headers) ELSE 0 END AS bytes
            FROM dead_letters d WHERE ",
    of_filter!(),
    " AND d.id > $8 AND d.id <= $9
            ORDER BY d.id
            LIMIT $11
        ) AS sized
    ) AS page
    JOIN dead_letters d USING (id)
    WHERE bytes_before < $12::bigint
    ORDER BY d.id"
);

/// In the order of the ids, so that two operators don't deadlock.
pub(in crate::store) const LOCK: &str = "/* lock_dead_letters */
    SELECT id, status, attempts FROM dead_letters WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE";

/// What a letter that was taken was refused for stays.
pub(in crate::store) const SETTLE: &str = "/* settle_dead_letters */
    UPDATE dead_letters d SET status = n.status, attempts = d.attempts + 1, reason = coalesce(n.reason, d.reason),
        detail = coalesce(n.detail, d.detail),
        field_path = CASE WHEN n.reason IS NULL THEN d.field_path ELSE n.field_path END
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
        AS n(id, status, reason, field_path, detail)
    WHERE d.id = n.id";

const READ: TransactionSpec = TransactionSpec {
    name: "read_letters_to_redrive",
    statement_timeout: Some(Duration::from_secs(600)),
    ..list::READ
};

/// Which letters are redriven, and how many at once.
#[derive(Clone, Debug)]
pub struct RedriveScope {
    /// Of these the open ones.
    pub filter: LetterFilter,
    /// None younger than this one, so that a run ends though more come in.
    pub last: LetterId,
    /// A letter that was tried so often isn't tried again.
    pub max_attempts: u32,
    /// At most so many in one transaction.
    pub max_letters: u32,
    /// About so many bytes of records in one transaction; a larger one comes by itself.
    pub max_bytes: u64,
}

/// An open dead letter as it was read.
#[derive(Clone, Debug)]
pub struct LetterToRedrive {
    pub id: LetterId,
    /// How often it was redriven before.
    pub attempts: i32,
    /// By its name.
    pub reason: String,
    pub partition: TopicPartition,
    pub offset: RecordOffset,
    pub record: Record,
}

/// Some letters, in the order in which they came in.
#[derive(Clone, Debug)]
pub struct RedrivePage {
    pub letters: Vec<LetterToRedrive>,
    /// How many are left as they are, since they were tried often enough.
    pub passed_over: u64,
    /// Behind which the next page begins; none where this one is empty, which the last one is.
    pub end: Option<LetterId>,
}

/// What becomes of a letter that was read.
#[derive(Clone, Copy, Debug)]
pub struct Settlement<'a> {
    pub id: LetterId,
    /// As it was read.
    pub attempts: i32,
    pub outcome: LetterOutcome<'a>,
}

/// What an attempt to redrive a letter came to.
#[derive(Clone, Copy, Debug)]
pub enum LetterOutcome<'a> {
    /// Its event is in the tables, now or before, or of a kind to ignore.
    Taken,
    /// It stays open, for this reason.
    Refused(&'a Refusal),
}

impl LetterOutcome<'_> {
    fn status(self) -> LetterStatus {
        match self {
            LetterOutcome::Taken => LetterStatus::Redriven,
            LetterOutcome::Refused(_) => LetterStatus::Open,
        }
    }

    fn refusal(&self) -> Option<&Refusal> {
        match self {
            LetterOutcome::Taken => None,
            LetterOutcome::Refused(refusal) => Some(refusal),
        }
    }
}

/// A letter's row at the time of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencedLetter {
    pub id: LetterId,
    /// Its status and attempts; none where it was deleted.
    pub found: Option<(LetterStatus, i32)>,
}

impl Settlement<'_> {
    /// What another one finds once this one is committed.
    pub fn leaves(&self) -> FencedLetter {
        FencedLetter { id: self.id, found: Some((self.outcome.status(), self.attempts + 1)) }
    }
}

impl Store {
    /// The letters behind `after`, as many as go into one transaction.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn letters_to_redrive(&self, scope: &RedriveScope, after: LetterId) -> Result<RedrivePage, StoreError> {
        let filter = scope.filter.of(LetterStatus::Open);
        let body = async |connection: &mut PgConnection| {
            let query = filter.bind::<Row>(PAGE).bind(after.0).bind(scope.last.0).bind(i64::from(scope.max_attempts));
            let query =
                query.bind(i64::from(scope.max_letters)).bind(i64::try_from(scope.max_bytes).unwrap_or(i64::MAX));
            Ok::<_, StoreError>(query.fetch_all(connection).await?)
        };
        let rows = self.transactions.run(&READ, body).await?;
        let read = rows.len();
        let end = rows.last().map(|row| LetterId(row.0));
        let is_tried = |row: &Row| i64::from(row.1) < i64::from(scope.max_attempts);
        let letters = rows.into_iter().filter(is_tried).map(letter).collect::<Result<Vec<_>, _>>()?;
        Ok(RedrivePage { passed_over: (read - letters.len()) as u64, letters, end })
    }
}

type Row = (Uuid, i32, String, String, i32, i64, Option<DateTime<Utc>>, Json<Value>, Option<Vec<u8>>, Option<Vec<u8>>);

fn letter(row: Row) -> Result<LetterToRedrive, StoreError> {
    let (id, attempts, reason, topic, partition, offset, timestamp, Json(headers), key, value) = row;
    Ok(LetterToRedrive {
        id: LetterId(id),
        attempts,
        reason,
        partition: TopicPartition::new(topic, partition),
        offset: RecordOffset::new(offset),
        record: Record {
            value: value.map(Into::into),
            key: key.map(Into::into),
            headers: headers_from_json(&headers).ok_or_else(|| StoreError::corrupt("dead_letters", "headers"))?,
            timestamp: timestamp.and_then(|time| RecordTimestamp::from_millis(time.timestamp_millis())),
        },
    })
}

/// Settles all letters, or says which are not as they were read. Who comes second waits for the first and then sees
/// what it left.
pub(in crate::store) async fn settle(
    connection: &mut PgConnection,
    settlements: &[Settlement<'_>],
) -> Result<Result<(), Fenced>, StoreError> {
    let ids: Vec<Uuid> = settlements.iter().map(|settlement| settlement.id.0).collect();
    let rows = sqlx::query_as::<_, (Uuid, String, i32)>(LOCK).bind(&ids).fetch_all(&mut *connection).await?;
    let found: HashMap<Uuid, (LetterStatus, i32)> = rows
        .into_iter()
        .filter_map(|(id, status, attempts)| Some((id, (LetterStatus::from_name(&status)?, attempts))))
        .collect();
    let found = |settlement: &Settlement<'_>| found.get(&settlement.id.0).copied();
    let fenced = settlements.iter().filter(|one| found(one) != Some((LetterStatus::Open, one.attempts)));
    let letters: Vec<_> = fenced.map(|one| FencedLetter { id: one.id, found: found(one) }).collect();
    if !letters.is_empty() {
        return Ok(Err(Fenced { letters, ..Fenced::default() }));
    }
    fn column<'a, T>(settlements: &'a [Settlement<'a>], value: impl Fn(&'a Settlement<'a>) -> T) -> Vec<T> {
        settlements.iter().map(value).collect()
    }
    let query = sqlx::query(SETTLE)
        .bind(&ids)
        .bind(column(settlements, |one| one.outcome.status().as_str()))
        .bind(column(settlements, |one| one.outcome.refusal().map(|refusal| refusal.reason.as_str())))
        .bind(column(settlements, |one| one.outcome.refusal().and_then(|refusal| refusal.field_path.as_deref())))
        .bind(column(settlements, |one| one.outcome.refusal().map(|refusal| &*refusal.detail)));
    query.execute(connection).await?;
    Ok(Ok(()))
}
