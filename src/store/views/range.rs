//! Tool executions of a stretch of time.
//!
//! No index has the time of an execution: it would have to be written with every batch. So the sessions come first whose
//! last event is not before the stretch, by the index that retention has, and then what these executed. It costs as much as
//! there was since the stretch began.

use sqlx::{Executor, PgConnection};

use crate::{event::EventTime, store::error::StoreError};

/// The connections are set up for the hot path, which looks up keys and nothing else. What reads much reads it with one
/// process.
pub(super) const FREE_PLAN: &str = "/* free_plan */
    SELECT set_config('enable_seqscan', 'on', true), set_config('enable_hashjoin', 'on', true),
        set_config('max_parallel_workers_per_gather', '0', true)";

pub(super) async fn free_plan(connection: &mut PgConnection) -> Result<(), StoreError> {
    connection.execute(FREE_PLAN).await?;
    Ok(())
}

/// A stretch of time of at most 31 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    from: EventTime,
    to: EventTime,
}

impl TimeRange {
    pub const MAX_DAYS: i64 = 31;

    /// From one instant on, until before another. None where it is empty or too long.
    pub fn new(from: EventTime, to: EventTime) -> Option<Self> {
        let longest = chrono::TimeDelta::days(Self::MAX_DAYS);
        let length = to.as_utc() - from.as_utc();
        (chrono::TimeDelta::zero() < length && length <= longest).then_some(Self { from, to })
    }

    pub fn from(self) -> EventTime {
        self.from
    }

    pub fn to(self) -> EventTime {
        self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_neither_empty_nor_longer_than_31_days() {
        let at = |text| EventTime::parse(text).unwrap();
        let is_range = |from, to| TimeRange::new(at(from), at(to)).is_some();
        assert!(is_range("2026-03-01T00:00:00Z", "2026-03-01T00:00:00.000001Z"));
        assert!(is_range("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"));
        assert!(!is_range("2026-03-01T00:00:00Z", "2026-04-01T00:00:00.000001Z"));
        assert!(!is_range("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"));
        assert!(!is_range("2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z"));
    }
}
