//! Records that are no good events, kept byte for byte: how they come in, are looked at, and go out again.

mod discard;
mod headers;
mod insert;
mod list;
mod redrive;
mod show;

pub use discard::Discarding;
pub use headers::{headers_from_json, headers_to_json};
pub use insert::DeadLetter;
pub use list::{LetterCount, LetterFilter, LetterPage, LetterSummary};
pub use redrive::{FencedLetter, LetterOutcome, LetterToRedrive, RedrivePage, RedriveScope, Settlement};
pub use show::StoredLetter;

pub(super) use insert::insert;
pub(super) use redrive::settle;

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// Every statement on the table.
pub(super) const STATEMENTS: [&str; 9] = [
    insert::INSERT,
    list::PAGE,
    list::COUNT,
    list::LAST,
    show::SHOW,
    redrive::PAGE,
    redrive::LOCK,
    redrive::SETTLE,
    discard::CHANGE,
];

/// Names a dead letter. Greater ones are younger, by the clock of the instance that made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct LetterId(Uuid);

impl LetterId {
    /// Before all others.
    pub const FIRST: LetterId = LetterId(Uuid::nil());

    fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |_| "allowed: the id of a dead letter, like 0195f1d2-7f3c-7c1e-9d5a-3b1f0c6e2a47".to_owned();
        text.parse().map(Self).map_err(allowed)
    }
}

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LetterStatus {
    /// Nobody has dealt with it yet.
    Open,
    /// It was taken after all.
    Redriven,
    /// An operator decided that it is not wanted.
    Discarded,
}

impl LetterStatus {
    pub const ALL: [LetterStatus; 3] = [LetterStatus::Open, LetterStatus::Redriven, LetterStatus::Discarded];

    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            LetterStatus::Open => "open",
            LetterStatus::Redriven => "redriven",
            LetterStatus::Discarded => "discarded",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}
