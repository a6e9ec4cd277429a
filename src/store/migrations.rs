//! The migrations, embedded in the program. A landed one is never edited.

use sqlx::{
    PgConnection, SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
};

use super::{
    Store,
    error::{Failure, StoreError},
};

const FILES: &[(i64, &str, &str)] = &[
    (1, "sessions", include_str!("../../migrations/0001_sessions.sql")),
    (2, "stream", include_str!("../../migrations/0002_stream.sql")),
    (3, "aggregators", include_str!("../../migrations/0003_aggregators.sql")),
    (4, "incomplete", include_str!("../../migrations/0004_incomplete.sql")),
    (5, "adopted_offsets", include_str!("../../migrations/0005_adopted_offsets.sql")),
    (6, "gaps", include_str!("../../migrations/0006_gaps.sql")),
    (7, "state_as_json", include_str!("../../migrations/0007_state_as_json.sql")),
    (8, "transitions_by_session", include_str!("../../migrations/0008_transitions_by_session.sql")),
    (9, "deleted_sessions", include_str!("../../migrations/0009_deleted_sessions.sql")),
    (10, "retention", include_str!("../../migrations/0010_retention.sql")),
    (11, "replays", include_str!("../../migrations/0011_replays.sql")),
    (12, "generation", include_str!("../../migrations/0012_generation.sql")),
    (13, "outbox", include_str!("../../migrations/0013_outbox.sql")),
    (14, "what_columns_mean", include_str!("../../migrations/0014_what_columns_mean.sql")),
];

/// How a schema compares with this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationState {
    Current,
    /// This many migrations are missing; all of them where the schema doesn't exist.
    Missing(usize),
    /// It was migrated by a newer build.
    Newer,
}

/// What [`Store::migrate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrations {
    pub applied: usize,
}

fn migrator() -> Migrator {
    let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(FILES.iter().map(migration).collect())
}

impl Store {
    /// Creates the schema and applies what is missing, under a lock, so that instances may start at once.
    ///
    /// # Errors
    /// If Postgres refuses, or an applied migration differs from this build's.
    pub async fn migrate(&self) -> Result<Migrations, StoreError> {
        let mut connection = self.transactions.pool().acquire().await?;
        let before = self.state_on(&mut connection).await?;
        // Not even looked at by the migrator then, which wants the right to create tables in any case.
        if before == MigrationState::Current {
            return Ok(Migrations { applied: 0 });
        }
        let mut migrator = migrator();
        // Asked first, since CREATE SCHEMA IF NOT EXISTS wants the right to create one even where it exists. The
        // migrator creates it under its lock; two that do so at once get in each other's way.
        if !self.schema_exists(&mut connection).await? {
            migrator.create_schema(format!("\"{}\"", self.schema));
        }
        migrator.run(&mut *connection).await.map_err(from_migrate_error)?;
        Ok(Migrations { applied: if let MigrationState::Missing(count) = before { count } else { 0 } })
    }

    /// Compares the schema with this build, without changing anything.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn migration_state(&self) -> Result<MigrationState, StoreError> {
        let mut connection = self.transactions.pool().acquire().await?;
        self.state_on(&mut connection).await
    }

    async fn schema_exists(&self, connection: &mut PgConnection) -> Result<bool, StoreError> {
        const SCHEMA_EXISTS: &str = "/* schema_exists */ SELECT to_regnamespace($1) IS NOT NULL";
        Ok(sqlx::query_scalar(SCHEMA_EXISTS).bind(&*self.schema).fetch_one(connection).await?)
    }

    async fn state_on(&self, connection: &mut PgConnection) -> Result<MigrationState, StoreError> {
        const HISTORY_EXISTS: &str = "/* migration_history_exists */ SELECT to_regclass($1) IS NOT NULL";
        let table = format!("\"{}\"._sqlx_migrations", self.schema);
        let exists: bool = sqlx::query_scalar(HISTORY_EXISTS).bind(table).fetch_one(&mut *connection).await?;
        if !exists {
            return Ok(MigrationState::Missing(FILES.len()));
        }
        let applied = connection.list_applied_migrations("_sqlx_migrations").await.map_err(from_migrate_error)?;
        let known = applied.iter().filter(|one| FILES.iter().any(|(version, ..)| *version == one.version)).count();
        Ok(match (applied.len() - known, FILES.len() - known) {
            (0, 0) => MigrationState::Current,
            (0, missing) => MigrationState::Missing(missing),
            _ => MigrationState::Newer,
        })
    }
}

fn from_migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => StoreError::new(Failure::Setup, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_the_folder_is_embedded() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
        let mut names: Vec<_> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let embedded: Vec<_> = FILES.iter().map(|(version, name, _)| format!("{version:04}_{name}.sql")).collect();
        assert_eq!(names, embedded);
    }
}
