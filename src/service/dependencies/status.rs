//! How a dependency stands, as it follows from what is configured, what was seen last, and now.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::snapshot::Snapshot;

/// How a dependency stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its address or its credential is not configured, so that it can't be asked.
    Unhealthy,
    /// It was not asked yet, or so long ago that it says nothing any more, or it didn't answer well.
    ConfiguredButUnconnected,
    /// It answered well, not long ago.
    Connected,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Unhealthy => "unhealthy",
            Status::ConfiguredButUnconnected => "configured_but_unconnected",
            Status::Connected => "connected",
        })
    }
}

/// The status at an instant. A snapshot that is older than the interval says nothing; exactly as old is fresh.
pub(super) fn status(configured: bool, snapshot: Option<&Snapshot>, interval: Duration, now: Instant) -> Status {
    let is_fresh = |snapshot: &&Snapshot| now.saturating_duration_since(snapshot.at) <= interval;
    match snapshot.filter(is_fresh) {
        _ if !configured => Status::Unhealthy,
        Some(snapshot) if snapshot.is_connected() => Status::Connected,
        _ => Status::ConfiguredButUnconnected,
    }
}

/// What a question may take beyond its timeout until its answer is noted.
const SLACK: Duration = Duration::from_secs(1);

/// How long to rest between a snapshot and the next question: so much less than the interval that a dependency which
/// answers in time is asked again before the snapshot is older than that. Half of the interval where the timeout is longer.
pub(super) fn rest(interval: Duration, timeout: Duration) -> Duration {
    interval.saturating_sub((interval / 2).min(timeout.saturating_add(SLACK)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot(at: Instant, connected: bool) -> Snapshot {
        let fault = (!connected).then(|| "away".to_owned());
        Snapshot { at, last_error: fault, ..Snapshot::at(at) }
    }

    #[test]
    fn the_table_of_statuses() {
        let (interval, begun) = (Duration::from_secs(300), Instant::now());
        let later = |seconds| begun + Duration::from_secs(seconds);
        let (well, ill) = (snapshot(begun, true), snapshot(begun, false));
        for (configured, seen, now, expected) in [
            (false, None, begun, Status::Unhealthy),
            (false, Some(&well), begun, Status::Unhealthy),
            (true, None, begun, Status::ConfiguredButUnconnected),
            (true, Some(&ill), begun, Status::ConfiguredButUnconnected),
            (true, Some(&ill), later(301), Status::ConfiguredButUnconnected),
            (true, Some(&well), begun, Status::Connected),
            (true, Some(&well), later(300), Status::Connected),
            (true, Some(&well), later(301), Status::ConfiguredButUnconnected),
        ] {
            assert_eq!(status(configured, seen, interval, now), expected, "{configured} {seen:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_connected_exactly_when_configured_and_a_fresh_snapshot_says_so(
            configured: bool,
            connected in prop::option::of(any::<bool>()),
            age in 0..400_000_u64,
            interval in 100..400_000_u64,
        ) {
            let begun = Instant::now();
            let (age, interval) = (Duration::from_millis(age), Duration::from_millis(interval));
            let seen = connected.map(|connected| snapshot(begun, connected));
            let found = status(configured, seen.as_ref(), interval, begun + age);
            prop_assert_eq!(found == Status::Unhealthy, !configured);
            prop_assert_eq!(found == Status::Connected, configured && connected == Some(true) && age <= interval);
        }

        /// However long each answer takes within its timeout: at no moment is the last snapshot older than the interval.
        #[test]
        fn one_that_answers_in_time_never_flaps(
            interval in 100..3_600_000_u64,
            timeout in 100..600_000_u64,
            took in 0.0..=1.0_f64,
        ) {
            let (interval, timeout) = (Duration::from_millis(interval), Duration::from_millis(timeout));
            // A timeout that is longer than half of the interval promises nothing.
            let patience = timeout.min(interval / 2);
            let oldest = rest(interval, timeout) + patience.mul_f64(took);
            prop_assert!(oldest <= interval, "{:?}", oldest);
            prop_assert!(rest(interval, timeout) >= interval / 2);
        }
    }
}
