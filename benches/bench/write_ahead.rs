//! What Postgres writes ahead of its pages.

use std::fmt;

use anyhow::Result;
use sqlx::PgConnection;

/// Sums of the whole server, or a difference of two.
#[derive(Clone, Copy, Debug)]
pub struct WriteAhead {
    pub bytes: f64,
    /// Whole pages, each because it was changed for the first time since a checkpoint.
    pub full_page_images: f64,
}

impl WriteAhead {
    /// Connections report what they wrote when they end, or else up to a second later.
    pub async fn now(connection: &mut PgConnection) -> Result<Self> {
        let sums = "SELECT wal_bytes::float8, wal_fpi::float8 FROM pg_stat_wal";
        let (bytes, full_page_images) = sqlx::query_as(sums).fetch_one(connection).await?;
        Ok(Self { bytes, full_page_images })
    }

    pub fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, full_page_images: self.full_page_images - before.full_page_images }
    }
}

impl fmt::Display for WriteAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4.0} MB of WAL, {:>6} full pages", self.bytes / 1e6, self.full_page_images)
    }
}
