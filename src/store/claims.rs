//! What the tables claim to hold of the topics, all of one moment: how far each partition is in them, and the digest of
//! each session's events.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use sqlx::PgConnection;

use crate::{
    event::{Event, EventSetDigest, SessionId},
    fold::Version,
    record::{NextOffset, RecordOffset, TopicPartition},
};

use super::{
    Store, checkpoints, deleted_sessions,
    error::StoreError,
    events::{self, StoredEvent},
    stored,
    transaction::TransactionSpec,
};

pub(super) const DIGESTS: &str = "/* digests_of_sessions */
    SELECT session_id, version, event_digest, event_count
    FROM sessions
    WHERE $1::text[] IS NULL OR session_id = ANY($1)";

/// Records that were set aside once. They may have been taken since: redriven, or read again with other settings.
pub(super) const DEAD_LETTERS: &str = "/* dead_letter_records */
    SELECT topic, partition, record_offset, bool_or(status = 'redriven')
    FROM dead_letters
    GROUP BY topic, partition, record_offset";

const SPEC: TransactionSpec = TransactionSpec { name: "read_claims", ..stored::READ };

/// How far the tables are.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    pub checkpoints: HashMap<TopicPartition, NextOffset>,
    /// Records before the checkpoints that the tables need not hold, since they were set aside.
    pub dead_letters: HashMap<(TopicPartition, RecordOffset), SetAside>,
    /// What is stored of each session, where it was asked for.
    pub sessions: HashMap<SessionId, ClaimedSession>,
}

/// What became of a record that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetAside {
    /// By an operator: with that attempt's settings its event was taken.
    Redriven,
    /// It is a dead letter still, or was read again since.
    Left,
}

/// What a session's row says of its events.
#[derive(Clone, Copy, Debug)]
pub struct ClaimedSession {
    pub version: Version,
    /// None where an earlier version of the program wrote the row.
    pub digest: Option<EventSetDigest>,
    pub event_count: i64,
}

/// What is stored of a session.
#[derive(Clone, Debug)]
pub struct StoredEvents {
    pub events: Vec<Event>,
    /// None where it has no row.
    pub row: Option<ClaimedSession>,
}

impl Store {
    /// How far this group's partitions are in the tables.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn claims(&self, group_id: &str, partitions: &[TopicPartition]) -> Result<Claims, StoreError> {
        let body = async |connection: &mut PgConnection| read(connection, group_id, partitions).await;
        self.transactions.run(&SPEC, body).await
    }

    /// The same, with these sessions, or all where none is named.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn claims_with_sessions(
        &self,
        group_id: &str,
        partitions: &[TopicPartition],
        sessions: &[SessionId],
    ) -> Result<Claims, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let mut claims = read(connection, group_id, partitions).await?;
            claims.sessions = read_sessions(connection, sessions).await?;
            Ok::<_, StoreError>(claims)
        };
        self.transactions.run(&SPEC, body).await
    }

    /// The stored events of these sessions, and what their rows say at that moment. Of a session that was deleted, or
    /// has an event that this build can't read, there is neither.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn stored_events(&self, sessions: &[SessionId]) -> Result<HashMap<SessionId, StoredEvents>, StoreError> {
        let ids: Vec<&str> = sessions.iter().map(SessionId::as_str).collect();
        let body = async |connection: &mut PgConnection| {
            let mut rows = read_sessions(connection, sessions).await?;
            let with_row = |id: &SessionId| (id.clone(), StoredEvents { events: Vec::new(), row: rows.remove(id) });
            let mut stored: HashMap<SessionId, StoredEvents> = sessions.iter().map(with_row).collect();
            events::for_each_readable(connection, &ids, |session_id, event| match event {
                Ok(StoredEvent { event, .. }) => {
                    if let Some(session) = stored.get_mut(&event.session_id) {
                        session.events.push(event);
                    }
                }
                Err(_) => stored.retain(|id, _| id.as_str() != session_id),
            })
            .await?;
            let deleted = deleted_sessions::among(connection, &ids).await?;
            stored.retain(|id, _| !deleted.contains(id));
            Ok::<_, StoreError>(stored)
        };
        self.transactions.run(&SPEC, body).await
    }
}

async fn read(
    connection: &mut PgConnection,
    group_id: &str,
    partitions: &[TopicPartition],
) -> Result<Claims, StoreError> {
    let checkpoints = checkpoints::select(checkpoints::READ, connection, group_id, partitions).await?;
    let rows = sqlx::query_as::<_, (String, i32, i64, bool)>(DEAD_LETTERS).fetch_all(connection).await?;
    let record = |(topic, partition, offset, redriven): (String, i32, i64, bool)| {
        let set_aside = if redriven { SetAside::Redriven } else { SetAside::Left };
        ((TopicPartition::new(topic, partition), RecordOffset::new(offset)), set_aside)
    };
    Ok(Claims { checkpoints, dead_letters: rows.into_iter().map(record).collect(), sessions: HashMap::new() })
}

async fn read_sessions(
    connection: &mut PgConnection,
    sessions: &[SessionId],
) -> Result<HashMap<SessionId, ClaimedSession>, StoreError> {
    let ids: Vec<&str> = sessions.iter().map(SessionId::as_str).collect();
    let query = sqlx::query_as::<_, (String, i64, Option<Vec<u8>>, i64)>(DIGESTS);
    let mut rows = query.bind((!ids.is_empty()).then_some(&ids)).fetch(connection);
    let mut found = HashMap::new();
    while let Some((session_id, version, digest, event_count)) = rows.try_next().await? {
        let session_id = SessionId::parse(&session_id).map_err(|_| StoreError::corrupt("sessions", "session_id"))?;
        let digest = digest.and_then(|bytes| EventSetDigest::from_bytes(&bytes));
        found.insert(session_id, ClaimedSession { version: Version::from_stored(version), digest, event_count });
    }
    Ok(found)
}
