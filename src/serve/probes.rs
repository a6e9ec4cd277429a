//! `/livez`, `/readyz`, `/healthz`: answered from what is known, at once.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Instant};

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use crate::{
    record::TopicPartition,
    service::{DependencyReport, LastRound, PartStanding, Snapshot},
    store::{BreakerState, MigrationState},
    stream::PartitionStanding,
};

use super::Observed;

type Answer = (StatusCode, Json<Value>);

pub(super) async fn live(State(observed): State<Arc<Observed>>) -> Answer {
    probe("live", observed.seen.health.why_not_live())
}

pub(super) async fn ready(State(observed): State<Arc<Observed>>) -> Answer {
    probe("ready", observed.seen.health.why_not_ready())
}

fn probe(good: &str, reasons: Vec<String>) -> Answer {
    if reasons.is_empty() {
        return (StatusCode::OK, Json(json!({"status": good})));
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": format!("not {good}"), "reasons": reasons})))
}

/// Each part, as it is seen. It is a report, and so its status is always 200.
pub(super) async fn health(State(observed): State<Arc<Observed>>) -> Json<Value> {
    let (live, ready) = (observed.seen.health.why_not_live(), observed.seen.health.why_not_ready());
    let status = match (live.is_empty(), ready.is_empty()) {
        (false, _) => "not live",
        (true, false) => "not ready",
        (true, true) => "ready",
    };
    let mut components = BTreeMap::from([
        ("consumer", consumer(&observed)),
        ("broker", broker(&observed)),
        ("postgres", postgres(&observed)),
        ("breaker", breaker(&observed)),
    ]);
    components.extend(observed.seen.parts.iter().map(|(name, report)| (*name, part(&observed, &report.last()))));
    Json(json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "group_id": observed.group_id,
        "not_live": live,
        "not_ready": ready,
        "components": components,
        "dependencies": observed.seen.dependencies.reports().iter().map(dependency).collect::<Vec<_>>(),
        "parts": parts(&observed),
        "restarts": observed.seen.board.restarts(),
    }))
}

fn consumer(observed: &Observed) -> Value {
    let monitor = observed.monitor();
    let (progress, totals) = (&monitor.progress, monitor.counts.totals());
    let standing = progress.standing();
    json!({
        "assigned": standing.assigned,
        "paused": progress.is_paused(),
        "silent_for_seconds": progress.silent_for().as_secs_f64(),
        "read": progress.read(),
        "committed": totals.records(),
        "discarded": progress.discarded(),
        "in_hand": monitor.in_hand(),
        "lag": monitor.lag(),
        "last_commit_at": monitor.counts.last_commit_at().map(|at| text(ago(at))),
        "partitions": standing.partitions.iter().map(partition).collect::<Vec<_>>(),
    })
}

fn partition((partition, standing): (&TopicPartition, &PartitionStanding)) -> Value {
    json!({
        "topic": &*partition.topic,
        "partition": partition.partition,
        "position": standing.position.map(|position| position.get()),
        "lag": standing.lag,
        "seconds_behind": seconds_behind(standing),
        "halted": standing.halted,
        "connected": standing.connected,
    })
}

/// As [`PartitionStanding::behind`] at this moment.
pub(super) fn seconds_behind(standing: &PartitionStanding) -> Option<f64> {
    standing.behind(Utc::now()).map(|behind| behind.as_secs_f64())
}

fn broker(observed: &Observed) -> Value {
    let brokers = observed.monitor().progress.standing().brokers;
    json!({
        "connected": brokers.is_some_and(|brokers| brokers.connected > 0),
        "brokers_known": brokers.map(|brokers| brokers.known),
        "brokers_connected": brokers.map(|brokers| brokers.connected),
        "last_check_at": brokers.map(|brokers| text(ago(brokers.seen_at))),
        // librdkafka's own words are in the log.
        "last_error": null,
    })
}

fn postgres(observed: &Observed) -> Value {
    let (postgres, pool) = (observed.seen.health.postgres(), observed.seen.store.pool());
    let migrations = postgres.migrations.map(|state| match state {
        MigrationState::Current => "current".to_owned(),
        MigrationState::Missing(count) => format!("{count} missing"),
        MigrationState::Newer => "newer".to_owned(),
    });
    json!({
        "connected": postgres.connected,
        "last_check_at": postgres.last_check_at.map(text),
        "last_error": told(observed, postgres.last_error.as_deref()),
        "migrations": migrations,
        "connections": pool.open,
        "connections_idle": pool.idle,
        "connections_max": pool.max,
    })
}

fn breaker(observed: &Observed) -> Value {
    let report = observed.seen.store.breaker();
    json!({
        "connected": report.state == BreakerState::Closed,
        "state": report.state.to_string(),
        "openings": report.openings,
    })
}

/// What the supervisor says of each part of the program.
fn parts(observed: &Observed) -> Value {
    let part = |standing: &PartStanding| {
        json!({
            "state": standing.state.as_str(),
            "since": text(ago(standing.since)),
            "restarts": standing.restarts,
            "last_error": told(observed, standing.last_error.as_deref()),
        })
    };
    observed
        .seen
        .board
        .parts()
        .iter()
        .map(|(name, standing)| ((*name).to_owned(), part(standing)))
        .collect::<Map<_, _>>()
        .into()
}

fn part(observed: &Observed, last: &LastRound) -> Value {
    json!({
        // Before the first round, and for what has no rounds, nobody knows.
        "connected": last.at.map(|_| last.error.is_none()),
        "last_check_at": last.at.map(text),
        "last_error": told(observed, last.error.as_deref()),
    })
}

fn dependency(report: &DependencyReport) -> Value {
    let DependencyReport { name, kind, status, snapshot } = report;
    let mut value = json!(snapshot.as_ref().map(|snapshot| snapshot.counted).unwrap_or_default());
    value["name"] = json!(name);
    value["kind"] = json!(kind);
    value["status"] = json!(status.to_string());
    value["connected"] = json!(snapshot.as_ref().is_some_and(Snapshot::is_connected));
    value["last_check_at"] = json!(snapshot.as_ref().map(|snapshot| text(snapshot.last_check_at)));
    value["last_error"] = json!(snapshot.as_ref().and_then(|snapshot| snapshot.last_error.as_deref()));
    value
}

/// An error without the secrets that whoever is at the other end may have put into it.
fn told<'e>(observed: &Observed, error: Option<&'e str>) -> Option<Cow<'e, str>> {
    error.map(|error| observed.secrets.mask(error))
}

pub(super) fn ago(at: Instant) -> DateTime<Utc> {
    let elapsed = TimeDelta::from_std(at.elapsed()).unwrap_or_default();
    Utc::now() - elapsed
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
