//! A row of `sessions` as readers see it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Decode, Postgres, Row, Type, postgres::PgRow, types::Json};
use uuid::Uuid;

use crate::{
    event::{EventTime, SessionId},
    fold::Status,
    store::error::StoreError,
};

/// What is known of a session. The names are those of the columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionView {
    pub session_id: SessionId,
    pub status: Status,
    pub correlation_id: Uuid,
    pub task_id: Option<String>,
    pub started_at: Option<EventTime>,
    pub ended_at: Option<EventTime>,
    pub duration_seconds: Option<f64>,
    pub working_directory: Option<String>,
    pub git_branch: Option<String>,
    pub hook_source: Option<String>,
    pub end_reason: Option<String>,
    pub end_provenance: Option<String>,
    pub run_count: i64,
    pub prompt_count: i64,
    pub tool_count: i64,
    pub tool_failure_count: i64,
    pub tools_used_count: i64,
    /// Executions by the tool's name.
    pub tool_usage: BTreeMap<String, u64>,
    pub event_count: i64,
    pub first_event_at: EventTime,
    pub last_event_at: EventTime,
    /// Name and version of the aggregator that folded it.
    pub aggregator: String,
    pub version: i64,
    pub created_at: EventTime,
    pub updated_at: EventTime,
}

impl SessionView {
    /// Reads the columns of `session_columns!`.
    pub(super) fn read(row: &PgRow) -> Result<Self, StoreError> {
        let row = ViewRow { table: "sessions", row };
        Ok(Self {
            session_id: row.session_id()?,
            status: row.parse("status", |name: String| Status::from_name(&name))?,
            correlation_id: row.get("correlation_id")?,
            task_id: row.get("task_id")?,
            started_at: row.nullable_time("started_at")?,
            ended_at: row.nullable_time("ended_at")?,
            duration_seconds: row.get("duration_seconds")?,
            working_directory: row.get("working_directory")?,
            git_branch: row.get("git_branch")?,
            hook_source: row.get("hook_source")?,
            end_reason: row.get("end_reason")?,
            end_provenance: row.get("end_provenance")?,
            run_count: row.get("run_count")?,
            prompt_count: row.get("prompt_count")?,
            tool_count: row.get("tool_count")?,
            tool_failure_count: row.get("tool_failure_count")?,
            tools_used_count: row.get("tools_used_count")?,
            tool_usage: row.get::<Json<_>>("tool_usage")?.0,
            event_count: row.get("event_count")?,
            first_event_at: row.time("first_event_at")?,
            last_event_at: row.time("last_event_at")?,
            aggregator: row.get("aggregator")?,
            version: row.get("version")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        })
    }
}

/// A row whose values must be those that this build writes.
pub(super) struct ViewRow<'r> {
    pub(super) table: &'static str,
    pub(super) row: &'r PgRow,
}

impl<'r> ViewRow<'r> {
    pub(super) fn get<T: Type<Postgres> + Decode<'r, Postgres>>(&self, column: &str) -> Result<T, StoreError> {
        self.row.try_get(column).map_err(|_| StoreError::corrupt(self.table, column))
    }

    pub(super) fn parse<T, P>(&self, column: &str, parse: impl FnOnce(T) -> Option<P>) -> Result<P, StoreError>
    where
        T: Type<Postgres> + Decode<'r, Postgres>,
    {
        parse(self.get(column)?).ok_or_else(|| StoreError::corrupt(self.table, column))
    }

    pub(super) fn session_id(&self) -> Result<SessionId, StoreError> {
        self.parse("session_id", |id: String| SessionId::parse(&id).ok())
    }

    pub(super) fn time(&self, column: &str) -> Result<EventTime, StoreError> {
        self.parse(column, |instant: DateTime<Utc>| EventTime::from_utc(instant).ok())
    }

    pub(super) fn nullable_time(&self, column: &str) -> Result<Option<EventTime>, StoreError> {
        self.parse(column, |instant: Option<DateTime<Utc>>| instant.map(EventTime::from_utc).transpose().ok())
    }
}
