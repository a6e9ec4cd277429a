//! One dead letter, with its record.

use serde_json::Value;
use sqlx::{FromRow, PgConnection, Row, postgres::PgRow, types::Json};

use crate::{
    record::Header,
    store::{Store, error::StoreError},
};

use super::{
    LetterId, headers_from_json,
    list::{LetterSummary, READ, summary_columns},
};

pub(in crate::store) const SHOW: &str = concat!(
    "/* show_dead_letter */
    SELECT d.key, d.value, d.headers, ",
    summary_columns!(),
    " FROM dead_letters d WHERE d.id = $1"
);

/// A dead letter, whole.
#[derive(Clone, Debug)]
pub struct StoredLetter {
    pub summary: LetterSummary,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

impl FromRow<'_, PgRow> for StoredLetter {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let Json(headers): Json<Value> = row.try_get("headers")?;
        Ok(Self {
            summary: LetterSummary::from_row(row)?,
            key: row.try_get("key")?,
            value: row.try_get("value")?,
            headers: headers_from_json(&headers).ok_or_else(|| sqlx::Error::Decode("headers".into()))?,
        })
    }
}

impl Store {
    /// One dead letter; none where there is no such.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn dead_letter(&self, id: LetterId) -> Result<Option<StoredLetter>, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query_as::<_, StoredLetter>(SHOW).bind(id.0);
            Ok::<_, StoreError>(query.fetch_optional(connection).await?)
        };
        self.transactions.run(&READ, body).await
    }
}
