//! What a verification found.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;

use crate::{event::SessionId, store::Unreadable};

/// Something that is stored otherwise than it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub session_id: String,
    pub field: String,
    pub stored: Value,
    pub expected: Value,
}

impl Difference {
    pub(super) fn new(session_id: &SessionId, field: impl Into<String>, stored: Value, expected: Value) -> Self {
        Self { session_id: session_id.as_str().to_owned(), field: field.into(), stored, expected }
    }

    /// A value that no build writes: what its session comes to isn't known.
    pub(super) fn unreadable(session_id: &SessionId, Unreadable { table, column }: Unreadable) -> Self {
        let expected = "a value that this build can read".into();
        Self::new(session_id, format!("{table}.{column}"), "one that it can't read".into(), expected)
    }

    /// One of a session as a whole.
    pub(super) fn of_session(session_id: &SessionId, stored: &str, expected: &str) -> Self {
        Self::new(session_id, "session", stored.into(), expected.into())
    }
}

/// The counts so far, and the first differences.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Rows that were compared.
    pub sessions: u64,
    /// Stored events that they were compared with.
    pub events: u64,
    /// Records of the topics that were read; none where they were not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Stored events whose records these settings refuse, since they were redriven with others. No differences.
    pub redriven_by_others: u64,
    pub sessions_that_differ: u64,
    /// Of all sessions; `differences` has the first of them.
    pub difference_count: u64,
    pub differences: Vec<Difference>,
    /// Sessions that were written anew; none where nobody asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<u64>,
    /// Sessions that differ still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// What limits the comparison.
    pub notes: Vec<String>,
    #[serde(skip)]
    differing: HashSet<SessionId>,
    #[serde(skip)]
    limit: usize,
}

impl Report {
    /// Keeps the first `limit` differences; all are counted.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub fn is_equal(&self) -> bool {
        self.difference_count == 0
    }

    /// Whether nothing differs, or nothing any more.
    pub fn is_equal_now(&self) -> bool {
        self.is_equal() || self.left == Some(0)
    }

    /// The sessions that differ.
    pub(super) fn differing(&self) -> impl Iterator<Item = &SessionId> {
        self.differing.iter()
    }

    /// Takes in one session's differences.
    pub(super) fn add(&mut self, session_id: &SessionId, differences: Vec<Difference>) {
        if differences.is_empty() {
            return;
        }
        self.sessions_that_differ += u64::from(self.differing.insert(session_id.clone()));
        self.difference_count += differences.len() as u64;
        let room = self.limit.saturating_sub(self.differences.len());
        self.differences.extend(differences.into_iter().take(room));
    }
}
