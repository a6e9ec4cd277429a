//! How recent the tables are, and what an operator asks of them about the pipeline.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use crate::{
    record::{NextOffset, TopicPartition},
    store::{Store, checkpoints, error::StoreError, overview},
};

use super::VIEW;

/// The last hour is found by an index, and the last event among its sessions.
const RECENCY: &str = "/* recency */
    SELECT
        (SELECT max(last_event_at) FROM sessions
            WHERE last_event_hour = (SELECT max(last_event_hour) FROM sessions)) AS last_event_at,
        (SELECT max(updated_at) FROM checkpoints WHERE group_id = $1) AS last_checkpoint_at,
        (SELECT min(caught_up_at) FROM checkpoints WHERE group_id = $1
            HAVING count(*) = count(caught_up_at)) AS caught_up_at";

pub(super) const STATEMENTS: [&str; 1] = [RECENCY];

/// When the tables last changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recency {
    /// Of all stored events, the latest.
    pub last_event_at: Option<DateTime<Utc>>,
    /// When one of the group's checkpoints was last moved.
    pub last_checkpoint_at: Option<DateTime<Utc>>,
    /// The latest instant at which all that the logs held was known to be in the tables; none where a partition never
    /// was.
    pub caught_up_at: Option<DateTime<Utc>>,
}

/// What the tables tell of the pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineTables {
    pub recency: Recency,
    pub checkpoints: BTreeMap<TopicPartition, NextOffset>,
    /// Dead letters that nobody has dealt with, by reason.
    pub open_dead_letters: Vec<(String, i64)>,
}

impl Store {
    /// How recent the tables are, as a group writes them.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn recency(&self, group_id: &str) -> Result<Recency, StoreError> {
        self.transactions.run(&VIEW, async |connection| recency(connection, group_id).await).await
    }

    /// What the tables tell of a group's pipeline, of one moment.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn pipeline_tables(&self, group_id: &str) -> Result<PipelineTables, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let recency = recency(connection, group_id).await?;
            let checkpoints = checkpoints::of_group(connection, group_id).await?;
            let letters = sqlx::query_as(overview::DEAD_LETTERS_BY_REASON).fetch_all(connection).await?;
            Ok::<_, StoreError>(PipelineTables { recency, checkpoints, open_dead_letters: letters })
        };
        self.transactions.run(&VIEW, body).await
    }
}

async fn recency(connection: &mut PgConnection, group_id: &str) -> Result<Recency, StoreError> {
    let row = sqlx::query(RECENCY).bind(group_id).fetch_one(connection).await?;
    Ok(Recency {
        last_event_at: row.try_get("last_event_at")?,
        last_checkpoint_at: row.try_get("last_checkpoint_at")?,
        caught_up_at: row.try_get("caught_up_at")?,
    })
}
