//! The publisher's metrics.

use crate::service::{OutboxCounts, OutboxSeen};

use super::exposition::{Exposition, Kind};

/// Without a publisher the families have no samples.
pub(super) fn write(out: &mut Exposition, counts: Option<&OutboxCounts>) {
    let seen = counts.map(OutboxCounts::seen);
    let standing = seen.and_then(|seen| seen.standing);
    let mut published = out.family(
        Kind::Counter,
        "sessionfold_outbox_published_total",
        "Transitions that were delivered to the topic, by this instance.",
    );
    if let Some(seen) = seen {
        published.sample(&[], seen.published);
    }
    let mut failures = out.family(
        Kind::Counter,
        "sessionfold_outbox_failures_total",
        "Transitions that were refused (what=record), and rounds that failed as a whole (what=round).",
    );
    if let Some(seen) = seen {
        failures.sample(&[("what", "record")], seen.refused);
        failures.sample(&[("what", "round")], seen.failed);
    }
    let mut gauge = |name, help, value: Option<f64>| {
        let mut family = out.family(Kind::Gauge, name, help);
        if let Some(value) = value {
            family.sample(&[], value);
        }
    };
    gauge(
        "sessionfold_outbox_waiting",
        "Transitions that wait to be published, of all instances.",
        standing.map(|standing| standing.waiting as f64),
    );
    gauge(
        "sessionfold_outbox_oldest_age_seconds",
        "How long the oldest of these has waited; 0 where none waits.",
        standing.map(|standing| OutboxSeen::oldest_age(&standing).as_secs_f64()),
    );
    gauge(
        "sessionfold_outbox_set_aside",
        "Transitions that were refused too often and wait for somebody to act.",
        standing.map(|standing| standing.set_aside as f64),
    );
}
