//! Which dead letters there are.

use chrono::{DateTime, Utc};
use sqlx::{
    FromRow, PgConnection, Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::QueryAs,
};
use uuid::Uuid;

use crate::{
    event::EventTime,
    record::{RecordOffset, TopicPartition},
    store::{
        Store,
        error::StoreError,
        transaction::{Isolation, TransactionSpec},
    },
};

use super::{LetterId, LetterStatus};

/// The condition of a [`LetterFilter`] in a WHERE clause, in the parameters that [`LetterFilter::bind`] binds.
macro_rules! of_filter {
    () => {
        "($1::text[] IS NULL OR d.reason = ANY($1)) AND ($2::text[] IS NULL OR d.status = ANY($2))
        AND ($3::text[] IS NULL OR d.topic = ANY($3)) AND ($4::int[] IS NULL OR d.partition = ANY($4))
        AND ($5::timestamptz IS NULL OR d.created_at >= $5) AND ($6::timestamptz IS NULL OR d.created_at < $6)
        AND ($7::uuid[] IS NULL OR d.id = ANY($7))"
    };
}
pub(super) use of_filter;

/// What [`LetterSummary`] is made of.
macro_rules! summary_columns {
    () => {
        "d.id, d.topic, d.partition, d.record_offset, d.record_timestamp, octet_length(d.value) AS value_bytes, d.reason, \
         d.field_path, d.detail, d.status, d.attempts, d.created_at"
    };
}
pub(super) use summary_columns;

pub(in crate::store) const PAGE: &str = concat!(
    "/* list_dead_letters */
    SELECT ",
    summary_columns!(),
    " FROM dead_letters d WHERE ",
    of_filter!(),
    " AND ($8::uuid IS NULL OR d.id < $8)
    ORDER BY d.id DESC
    LIMIT $9"
);

pub(in crate::store) const COUNT: &str = concat!(
    "/* count_dead_letters */
    SELECT d.reason, count(*), count(*) FILTER (WHERE d.attempts >= $8::bigint)
    FROM dead_letters d WHERE ",
    of_filter!(),
    " GROUP BY d.reason ORDER BY 2 DESC, 1"
);

/// `max` of a uuid came with Postgres 18.
pub(in crate::store) const LAST: &str = concat!(
    "/* last_dead_letter */
    SELECT d.id FROM dead_letters d WHERE ",
    of_filter!(),
    " ORDER BY d.id DESC LIMIT 1"
);

pub(super) const READ: TransactionSpec = TransactionSpec {
    name: "read_dead_letters",
    isolation: Isolation::RepeatableRead,
    read_only: true,
    statement_timeout: None,
};

/// Chooses dead letters: those that fit all of it. An empty list fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    pub reasons: Vec<String>,
    pub statuses: Vec<LetterStatus>,
    pub topics: Vec<String>,
    pub partitions: Vec<i32>,
    /// Those that were stored not before.
    pub since: Option<EventTime>,
    /// Those that were stored before.
    pub until: Option<EventTime>,
    pub ids: Vec<LetterId>,
}

impl LetterFilter {
    /// The same for these statuses.
    #[must_use]
    pub fn of(&self, status: LetterStatus) -> Self {
        Self { statuses: vec![status], ..self.clone() }
    }

    /// Binds the parameters $1 to $7 of a statement with [`of_filter`].
    pub(super) fn bind<'q, O>(&self, statement: &'static str) -> QueryAs<'q, Postgres, O, PgArguments>
    where
        O: for<'r> FromRow<'r, PgRow>,
    {
        fn list<T>(values: Vec<T>) -> Option<Vec<T>> {
            (!values.is_empty()).then_some(values)
        }
        let statuses: Vec<&'static str> = self.statuses.iter().map(|status| status.as_str()).collect();
        let ids: Vec<Uuid> = self.ids.iter().map(|LetterId(id)| *id).collect();
        sqlx::query_as(statement)
            .bind(list(self.reasons.clone()))
            .bind(list(statuses))
            .bind(list(self.topics.clone()))
            .bind(list(self.partitions.clone()))
            .bind(self.since.map(EventTime::as_utc))
            .bind(self.until.map(EventTime::as_utc))
            .bind(list(ids))
    }
}

/// A dead letter without its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterSummary {
    pub id: LetterId,
    pub partition: TopicPartition,
    pub offset: RecordOffset,
    pub record_timestamp: Option<DateTime<Utc>>,
    /// Of the value; none where it is null.
    pub value_bytes: Option<i32>,
    /// By its name: a later build may have reasons of its own.
    pub reason: String,
    pub field_path: Option<String>,
    pub detail: String,
    pub status: LetterStatus,
    /// How often it was redriven.
    pub attempts: i32,
    pub created_at: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for LetterSummary {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let status: &str = row.try_get("status")?;
        Ok(Self {
            id: LetterId(row.try_get("id")?),
            partition: TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?),
            offset: RecordOffset::new(row.try_get("record_offset")?),
            record_timestamp: row.try_get("record_timestamp")?,
            value_bytes: row.try_get("value_bytes")?,
            reason: row.try_get("reason")?,
            field_path: row.try_get("field_path")?,
            detail: row.try_get("detail")?,
            status: LetterStatus::from_name(status).ok_or_else(|| sqlx::Error::Decode("status".into()))?,
            attempts: row.try_get("attempts")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

/// Some dead letters, the youngest first.
#[derive(Clone, Debug)]
pub struct LetterPage {
    pub letters: Vec<LetterSummary>,
    /// Behind which the next page begins; none after the last.
    pub next: Option<LetterId>,
}

/// How many dead letters there are of a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterCount {
    pub reason: String,
    pub letters: u64,
    /// Those among them that were redriven as often as is allowed, or more.
    pub exhausted: u64,
}

impl Store {
    /// A page of the dead letters that the filter chooses, from the youngest, or behind `after`, on.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn dead_letters(
        &self,
        filter: &LetterFilter,
        after: Option<LetterId>,
        limit: u32,
    ) -> Result<LetterPage, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let query = filter.bind::<LetterSummary>(PAGE).bind(after.map(|LetterId(id)| id));
            Ok::<_, StoreError>(query.bind(i64::from(limit) + 1).fetch_all(connection).await?)
        };
        let mut letters = self.transactions.run(&READ, body).await?;
        let more = letters.len() > limit as usize;
        letters.truncate(limit as usize);
        let next = letters.last().filter(|_| more).map(|letter| letter.id);
        Ok(LetterPage { letters, next })
    }

    /// How many dead letters the filter chooses, by reason, the most first; and the youngest of them.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn count_dead_letters(
        &self,
        filter: &LetterFilter,
        max_attempts: u32,
    ) -> Result<(Vec<LetterCount>, Option<LetterId>), StoreError> {
        let body = async |connection: &mut PgConnection| {
            let counts = filter.bind::<(String, i64, i64)>(COUNT).bind(i64::from(max_attempts));
            let counts = counts.fetch_all(&mut *connection).await?;
            let last = filter.bind::<(Uuid,)>(LAST).fetch_optional(connection).await?;
            Ok::<_, StoreError>((counts, last))
        };
        let (counts, last) = self.transactions.run(&READ, body).await?;
        let count = |(reason, letters, exhausted): (String, i64, i64)| LetterCount {
            reason,
            letters: letters.unsigned_abs(),
            exhausted: exhausted.unsigned_abs(),
        };
        Ok((counts.into_iter().map(count).collect(), last.map(|(id,)| LetterId(id))))
    }
}
