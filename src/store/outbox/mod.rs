//! The outbox: transitions on their way to the topic.
//!
//! A claim is a lease and no lock: two short transactions, with the sending between them. A lock held while records are
//! sent would hold up whoever deletes a session or promotes a generation for as long as a broker takes to answer, and for
//! a minute where its holder hangs. The price is a second write to the first row of each session that is claimed, and
//! that what a killed instance had claimed waits until the lease is over.
//!
//! Only the first unpublished row of a session is leased, and only who has leased it sends rows of that session. Later
//! rows are sent once those before them were delivered, so no late lease can put them into another order: what it can
//! bring about is that a row is sent twice.

mod claim;
mod operator;
mod settle;
mod standing;

pub use claim::{Claim, OutboxRow};
pub use operator::{OutboxEntry, OutboxSelection};
pub use settle::{ErrorText, RowOutcome, Settled};
pub use standing::OutboxStanding;

use sqlx::types::Uuid;

/// Which row of the table, whatever generation it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitionKey {
    pub session_id: String,
    pub session_version: i64,
    pub id: Uuid,
}

/// The keys as arrays, one a column.
struct KeyColumns<'a> {
    sessions: Vec<&'a str>,
    versions: Vec<i64>,
    ids: Vec<Uuid>,
}

impl<'a> KeyColumns<'a> {
    fn of(keys: impl Iterator<Item = &'a TransitionKey> + Clone) -> Self {
        Self {
            sessions: keys.clone().map(|key| key.session_id.as_str()).collect(),
            versions: keys.clone().map(|key| key.session_version).collect(),
            ids: keys.map(|key| key.id).collect(),
        }
    }
}

/// Every statement of this room.
pub(super) const STATEMENTS: [&str; 12] = [
    claim::PROMOTED_JUST_NOW,
    claim::HEADS,
    claim::LEASE,
    claim::ROWS,
    settle::PUBLISHED,
    settle::NOT_PUBLISHED,
    standing::WAITING,
    standing::SET_ASIDE,
    operator::LIST_SET_ASIDE,
    operator::LIST_WAITING,
    operator::COUNT_SET_ASIDE,
    operator::RETRY,
];
