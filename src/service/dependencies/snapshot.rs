//! What was seen of a dependency when it was last asked.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::config::Secrets;

pub(super) use crate::service::fault::Fault;

/// Longest text of an error, in characters.
const LONGEST: usize = 300;

/// What a dependency was found to have, where it answered well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Of the topics that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<usize>,
    /// Records that the logs hold and the tables don't yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools_count: Option<usize>,
}

pub(super) type Answer = Result<Counted, Fault>;

/// One answer, or why there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When the question ended. Ages are told by this one, which no change of the clock touches.
    pub at: Instant,
    pub last_check_at: DateTime<Utc>,
    /// On one line, bounded, without a secret; none where it is connected.
    pub last_error: Option<String>,
    pub counted: Counted,
}

impl Snapshot {
    pub(super) fn at(at: Instant) -> Self {
        Self { at, last_check_at: Utc::now(), last_error: None, counted: Counted::default() }
    }

    pub fn is_connected(&self) -> bool {
        self.last_error.is_none()
    }
}

/// The last snapshot of a dependency: written by who asks it, read by anybody, at once.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<Snapshot>>);

impl Slot {
    pub(super) fn last(&self) -> Option<Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note(&self, answer: Answer, secrets: &Secrets) {
        let now = Snapshot::at(Instant::now());
        let snapshot = match answer {
            Ok(counted) => Snapshot { counted, ..now },
            Err(fault) => Snapshot { last_error: Some(presentable(&fault.to_string(), secrets)), ..now },
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }
}

/// Secrets go before the text is cut, or a part of one might stay.
fn presentable(what: &str, secrets: &Secrets) -> String {
    let masked = secrets.mask(what);
    let visible = masked.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut text: String = visible.take(LONGEST + 1).collect();
    if text.chars().count() > LONGEST {
        text.pop();
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn an_error_is_one_bounded_line_without_a_secret_not_even_a_part_of_one() {
        let flags = vec!["http.token=hunter2hunter2hunter2".to_owned()];
        let secrets = Config::load(Sources { flags, ..Sources::default() }).unwrap().secrets();
        for padding in 0..400 {
            let slot = Slot::default();
            slot.note(Err(Fault::new(format!("{}\nhunter2hunter2hunter2 it said", "x".repeat(padding)))), &secrets);
            let error = slot.last().unwrap().last_error.unwrap();
            assert!(!error.contains("hunter2") && error.chars().count() <= LONGEST + 1, "{error}");
            assert!(!error.contains('\n'));
        }
    }
}
