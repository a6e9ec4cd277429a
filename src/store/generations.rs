//! Generations: complete sets of tables, each in a schema of its own. One is live: it has the schema's configured name.

mod diff;
mod promotion;

pub use diff::{DifferingSession, FieldDifference, GenerationDiff};
pub(super) use promotion::CHECKPOINTS;
pub use promotion::Promotion;

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, types::Json};
use uuid::Uuid;

use super::{
    Store,
    error::{Failure, StoreError},
    transaction::{Isolation, TransactionSpec},
};

pub(super) const READ: &str = "/* read_generation */
    SELECT id, name, settings, created_at, promoted_at FROM generation WHERE is_the_only_row";

pub(super) const NAME: &str = "/* name_generation */
    UPDATE generation SET id = $1, name = $2, settings = $3 WHERE promoted_at IS NULL";

/// By its key: a scan of a table counts as so expensive here that Postgres would compile the statement first, for 40 ms.
pub(super) const ID: &str = "/* generation_id */
    SELECT id FROM generation WHERE is_the_only_row";

const SCHEMAS: &str = "/* generation_schemas */
    SELECT nspname FROM pg_namespace
    WHERE starts_with(nspname, $1) AND to_regclass(format('%I.generation', nspname)) IS NOT NULL
    ORDER BY nspname";

const COUNT: &str = "/* count_sessions */
    SELECT count(*) FROM sessions";

/// The name of a generation: 1 to 24 lower-case letters, digits and underscores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GenerationName(String);

impl GenerationName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The schema of its tables while it isn't live.
    pub fn schema(&self, live: &str) -> String {
        format!("{}{}", prefix(live), self.0)
    }
}

fn prefix(live: &str) -> String {
    format!("{live}_generation_")
}

impl FromStr for GenerationName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name == "live" {
            return Err("`live` is what the one that is read and written is called, whatever its name".to_owned());
        }
        if (1..=24).contains(&name.len()) && name.chars().all(allowed) {
            return Ok(Self(name.to_owned()));
        }
        Err("allowed: 1 to 24 lower-case letters, digits and underscores".to_owned())
    }
}

impl fmt::Display for GenerationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// By which a writer knows that the tables are still those that it began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationId(Uuid);

/// What the tables of a schema are.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    pub id: GenerationId,
    pub name: GenerationName,
    /// The aggregator's settings, in a form that the store doesn't look into; none: the configuration's count.
    pub settings: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub promoted_at: Option<DateTime<Utc>>,
}

type Row = (Uuid, String, Option<Json<Value>>, DateTime<Utc>, Option<DateTime<Utc>>);

const READ_SPEC: TransactionSpec = TransactionSpec {
    name: "read_generation",
    isolation: Isolation::ReadCommitted,
    read_only: true,
    statement_timeout: None,
};

const WRITE_SPEC: TransactionSpec = TransactionSpec { name: "write_generation", read_only: false, ..READ_SPEC };

impl Store {
    /// What the tables of this schema are.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn generation(&self) -> Result<Generation, StoreError> {
        self.transactions.run(&READ_SPEC, async |connection| read(connection).await).await
    }

    /// The same store, whose commits and sweeps are refused once the tables are another generation's.
    #[must_use]
    pub fn bound_to(&self, generation: GenerationId) -> Self {
        Self { generation: Some(generation), ..self.clone() }
    }

    /// Whether this store is bound to a generation that the tables are no longer of. False where Postgres can't be asked.
    pub async fn is_outdated(&self) -> bool {
        let Some(bound) = self.generation else { return false };
        self.generation().await.is_ok_and(|found| found.id != bound)
    }

    /// Says what freshly made tables are. Sessions that were deleted from the live ones are not brought back by them.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn name_generation(
        &self,
        name: &GenerationName,
        settings: &Value,
        live: &Store,
    ) -> Result<(), StoreError> {
        let tombstones = promotion::copy_tombstones(live.schema(), &self.schema);
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query(NAME).bind(Uuid::now_v7()).bind(name.as_str()).bind(Json(settings));
            query.execute(&mut *connection).await?;
            sqlx::raw_sql(AssertSqlSafe(tombstones.as_str())).execute(connection).await?;
            Ok::<_, StoreError>(())
        };
        self.transactions.run(&WRITE_SPEC, body).await
    }

    /// The names of the generations beside this one, which is live.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn other_generations(&self) -> Result<Vec<GenerationName>, StoreError> {
        let prefix = prefix(&self.schema);
        let body = async |connection: &mut PgConnection| {
            let query = sqlx::query_scalar::<_, String>(SCHEMAS).bind(&prefix);
            Ok::<_, StoreError>(query.fetch_all(connection).await?)
        };
        let schemas = self.transactions.run(&READ_SPEC, body).await?;
        Ok(schemas.iter().filter_map(|schema| schema.strip_prefix(&prefix)?.parse().ok()).collect())
    }

    /// How many sessions there are.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn count_sessions(&self) -> Result<u64, StoreError> {
        let body = async |connection: &mut PgConnection| {
            Ok::<_, StoreError>(sqlx::query_scalar::<_, i64>(COUNT).fetch_one(connection).await?)
        };
        Ok(self.transactions.run(&READ_SPEC, body).await?.unsigned_abs())
    }

    /// Deletes the tables of a generation beside this one, which is live.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn drop_generation(&self, name: &GenerationName) -> Result<(), StoreError> {
        // Quoted, and made of the configured name and a parsed one.
        // The lock, since a promotion under way may be about to give this schema's tables the live name.
        let statement = format!(
            "/* drop_generation */ LOCK TABLE generation IN SHARE MODE; DROP SCHEMA {} CASCADE",
            quoted(&name.schema(&self.schema))
        );
        let body = async |connection: &mut PgConnection| {
            sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(connection).await?;
            Ok::<_, StoreError>(())
        };
        self.transactions.run(&WRITE_SPEC, body).await
    }
}

async fn read(connection: &mut PgConnection) -> Result<Generation, StoreError> {
    let (id, name, settings, created_at, promoted_at): Row = sqlx::query_as(READ).fetch_one(connection).await?;
    let name = name.parse().map_err(|_| StoreError::corrupt("generation", "name"))?;
    Ok(Generation {
        id: GenerationId(id),
        name,
        settings: settings.map(|Json(settings)| settings),
        created_at,
        promoted_at,
    })
}

/// Refuses to write to tables that are not of the generation that the writer began with. Until the transaction ends they
/// stay what they are.
pub(super) async fn check(connection: &mut PgConnection, expected: Option<GenerationId>) -> Result<(), StoreError> {
    let Some(GenerationId(expected)) = expected else { return Ok(()) };
    let found: Uuid = sqlx::query_scalar(ID).fetch_one(connection).await?;
    if found == expected {
        return Ok(());
    }
    Err(StoreError::new(Failure::Setup, "another generation was promoted, which these tables are now"))
}

/// An identifier, in double quotes.
fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
