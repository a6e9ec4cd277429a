//! `/metrics`: what is known at this moment, so that nothing of a partition that is gone remains.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{extract::State, http::header, response::IntoResponse};

use crate::{
    event::Reason,
    pipeline::Station,
    service::{PartState, Status},
    store::BreakerState,
};

use super::{
    Observed,
    exposition::{CONTENT_TYPE, Exposition, Kind},
    mcp::Outcome,
    outbox,
    probes::{ago, seconds_behind},
    process, traces,
};

pub(super) async fn show(State(observed): State<Arc<Observed>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&observed))
}

fn text(observed: &Observed) -> String {
    let mut out = Exposition::default();
    process(&mut out, observed);
    records(&mut out, observed);
    batches(&mut out, observed);
    partitions(&mut out, observed);
    transactions(&mut out, observed);
    postgres(&mut out, observed);
    parts(&mut out, observed);
    dependencies(&mut out, observed);
    outbox::write(&mut out, observed.seen.outbox.as_deref());
    traces::write(&mut out, observed.seen.spans.as_deref());
    requests(&mut out, observed);
    calls(&mut out, observed);
    out.into_text()
}

fn process(out: &mut Exposition, observed: &Observed) {
    let mut build = out.family(Kind::Gauge, "sessionfold_build_info", "1, with the version that runs.");
    build.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        since_1970(observed.seen.started_at),
    );
    let mut memory = out.family(Kind::Gauge, "process_resident_memory_bytes", "Memory in use that is in RAM.");
    if let Some(bytes) = process::resident_bytes() {
        memory.sample(&[], bytes);
    }
}

/// The conservation law: read = applied + duplicate + ignored + rejected + dead letters + discarded + in hand.
fn records(out: &mut Exposition, observed: &Observed) {
    // In this order, so that what is committed in between is in hand rather than missing.
    let monitor = observed.monitor();
    let totals = monitor.counts.totals();
    let discarded = monitor.progress.discarded();
    let read = monitor.progress.read();
    out.counter("sessionfold_records_read_total", "Records that were taken from Kafka.", read);
    out.counter("sessionfold_records_applied_total", "Records whose event was stored.", totals.applied);
    out.counter("sessionfold_records_duplicate_total", "Records whose event was stored before.", totals.duplicates);
    out.counter(
        "sessionfold_records_ignored_total",
        "Records of kinds to ignore or of sessions that were deleted.",
        totals.ignored,
    );
    let mut rejected = out.family(
        Kind::Counter,
        "sessionfold_records_rejected_total",
        "Records whose event the aggregator rejected, by reason.",
    );
    for (rejection, count) in &totals.rejected {
        rejected.sample(&[("reason", rejection.0)], count);
    }
    let mut dead_letters = out.family(
        Kind::Counter,
        "sessionfold_records_dead_letter_total",
        "Records that were set aside as dead letters, by reason.",
    );
    for reason in Reason::ALL {
        let of_reason = totals.dead_letters_by_reason().find(|(found, _)| *found == reason);
        dead_letters.sample(&[("reason", reason.as_str())], of_reason.map_or(0, |(_, count)| count));
    }
    out.counter(
        "sessionfold_records_discarded_total",
        "Records that were read and let go since their partition was taken away; whoever has it reads them again.",
        discarded,
    );
    out.gauge(
        "sessionfold_records_in_hand",
        "Records that were read and are neither committed nor discarded.",
        read.saturating_sub(totals.records() + discarded),
    );
}

fn batches(out: &mut Exposition, observed: &Observed) {
    let monitor = observed.monitor();
    let totals = monitor.counts.totals();
    out.counter("sessionfold_batches_total", "Batches that were committed.", totals.batches);
    out.counter(
        "sessionfold_conflicts_total",
        "Batches that were folded again since a session had changed.",
        totals.conflicts,
    );
    out.counter("sessionfold_fences_total", "Partitions that were let go since another moved them.", totals.fences);
    out.counter("sessionfold_halts_total", "Partitions that halted since the start.", totals.halted);
    out.gauge("sessionfold_last_batch_records", "Records in the last batch.", monitor.counts.last_batch());
    let mut stations = out.family(
        Kind::Counter,
        "sessionfold_station_seconds_total",
        "Time that records and batches spent at a station of their route; lanes are at theirs side by side.",
    );
    stations.sample(&[("station", "receive")], monitor.progress.receiving_time().as_secs_f64());
    for station in Station::ALL {
        stations.sample(&[("station", station.as_str())], monitor.counts.time_at(station).as_secs_f64());
    }
    let mut last = out.family(
        Kind::Gauge,
        "sessionfold_last_commit_timestamp_seconds",
        "When the last batch was committed, in seconds since 1970; missing before the first.",
    );
    if let Some(at) = monitor.counts.last_commit_at() {
        last.sample(&[], since_1970(ago(at).into()));
    }
}

fn partitions(out: &mut Exposition, observed: &Observed) {
    let progress = &observed.monitor().progress;
    let standing = progress.standing();
    let all: Vec<_> = standing
        .partitions
        .iter()
        .map(|(partition, of)| (&*partition.topic, partition.partition.to_string(), of))
        .collect();
    out.gauge(
        "sessionfold_partitions_assigned",
        "Partitions that the group gave to this instance; 0 while it rebalances.",
        standing.assigned.unwrap_or(0),
    );
    let mut lag = out.family(
        Kind::Gauge,
        "sessionfold_partition_lag_records",
        "Records between what was read of the partition and the end of its log.",
    );
    for (topic, partition, of) in &all {
        if let Some(records) = of.lag {
            lag.sample(&[("topic", topic), ("partition", partition)], records);
        }
    }
    let mut behind = out.family(
        Kind::Gauge,
        "sessionfold_partition_seconds_behind",
        "How long the partition's next unread record can have waited at most; 0 where it was read to its end.",
    );
    for (topic, partition, of) in &all {
        if let Some(seconds) = seconds_behind(of) {
            behind.sample(&[("topic", topic), ("partition", partition)], seconds);
        }
    }
    let mut halted = out.family(
        Kind::Gauge,
        "sessionfold_partition_halted",
        "1 where the partition's checkpoint is outside its log, so that nothing of it is read.",
    );
    for (topic, partition, of) in &all {
        halted.sample(&[("topic", topic), ("partition", partition)], u8::from(of.halted));
    }
    out.gauge(
        "sessionfold_fetching_paused",
        "1 while nothing is fetched, since Postgres can't keep up.",
        u8::from(progress.is_paused()),
    );
    out.gauge(
        "sessionfold_polling_silent_seconds",
        "How long ago the polling thread last turned.",
        progress.silent_for().as_secs_f64(),
    );
    let mut brokers =
        out.family(Kind::Gauge, "sessionfold_brokers", "Brokers that are known, and those that are connected.");
    if let Some(seen) = standing.brokers {
        brokers.sample(&[("state", "known")], seen.known);
        brokers.sample(&[("state", "connected")], seen.connected);
    }
}

fn transactions(out: &mut Exposition, observed: &Observed) {
    let all = observed.seen.store.statistics();
    let mut tries = out.family(
        Kind::Counter,
        "sessionfold_transactions_total",
        "Tries at transactions, by name and outcome; a retry ran into another transaction.",
    );
    for (name, of) in &all {
        for (outcome, count) in [("commit", of.commits), ("retry", of.retries), ("failure", of.failures)] {
            tries.sample(&[("name", name), ("outcome", outcome)], count);
        }
    }
    let mut seconds = out.family(
        Kind::Counter,
        "sessionfold_transaction_seconds_total",
        "Time spent in tries at transactions, by name.",
    );
    for (name, of) in &all {
        seconds.sample(&[("name", name)], of.time.as_secs_f64());
    }
    let mut under_way =
        out.family(Kind::Gauge, "sessionfold_transactions_under_way", "Transactions that haven't ended, by name.");
    for (name, of) in &all {
        under_way.sample(&[("name", name)], of.under_way);
    }
}

fn postgres(out: &mut Exposition, observed: &Observed) {
    out.gauge(
        "sessionfold_postgres_up",
        "1 if Postgres answered when it was last asked, once a second.",
        u8::from(observed.seen.health.postgres().connected),
    );
    let breaker = observed.seen.store.breaker();
    let mut state = out.family(Kind::Gauge, "sessionfold_breaker_state", "1 for the circuit breaker's state, else 0.");
    for known in [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen] {
        state.sample(&[("state", &known.to_string())], u8::from(breaker.state == known));
    }
    out.counter("sessionfold_breaker_openings_total", "How often the circuit breaker opened.", breaker.openings);
    let pool = observed.seen.store.pool();
    let mut connections = out.family(
        Kind::Gauge,
        "sessionfold_pool_connections",
        "The consumer's connections to Postgres: open, idle of these, and most that may be open.",
    );
    connections.sample(&[("state", "open")], pool.open);
    connections.sample(&[("state", "idle")], pool.idle);
    connections.sample(&[("state", "max")], pool.max);
}

fn parts(out: &mut Exposition, observed: &Observed) {
    let standings = observed.seen.board.parts();
    let mut up = out.family(Kind::Gauge, "sessionfold_part_up", "1 if a part of the program is at work, else 0.");
    for (name, standing) in &standings {
        up.sample(&[("part", name)], u8::from(standing.state == PartState::Up));
    }
    let mut restarts =
        out.family(Kind::Counter, "sessionfold_part_restarts_total", "How often a part of the program was begun anew.");
    for (name, standing) in &standings {
        restarts.sample(&[("part", name)], standing.restarts);
    }
    let mut last = out.family(
        Kind::Gauge,
        "sessionfold_part_last_round_timestamp_seconds",
        "When a part beside the consumer last ended a round, in seconds since 1970.",
    );
    for (name, report) in &observed.seen.parts {
        if let Some(at) = report.last().at {
            last.sample(&[("part", name)], since_1970(at.into()));
        }
    }
    let mut failed =
        out.family(Kind::Gauge, "sessionfold_part_last_round_failed", "1 if a part's last round failed, else 0.");
    for (name, report) in &observed.seen.parts {
        failed.sample(&[("part", name)], u8::from(report.last().error.is_some()));
    }
}

fn dependencies(out: &mut Exposition, observed: &Observed) {
    let all = observed.seen.dependencies.reports();
    let mut up = out.family(
        Kind::Gauge,
        "sessionfold_dependency_up",
        "1 if a dependency is connected, 0 if not; missing where it is not configured.",
    );
    for report in all.iter().filter(|report| report.status != Status::Unhealthy) {
        let labels = [("name", report.name.as_str()), ("kind", report.kind)];
        up.sample(&labels, u8::from(report.status == Status::Connected));
    }
    let mut age = out.family(
        Kind::Gauge,
        "sessionfold_dependency_last_check_age_seconds",
        "How long ago a dependency was last asked; missing before the first answer.",
    );
    for report in &all {
        if let Some(snapshot) = &report.snapshot {
            let labels = [("name", report.name.as_str()), ("kind", report.kind)];
            age.sample(&labels, snapshot.at.elapsed().as_secs_f64());
        }
    }
}

fn requests(out: &mut Exposition, observed: &Observed) {
    let mut requests = out.family(
        Kind::Counter,
        "sessionfold_http_requests_total",
        "Requests that were answered, by route and status.",
    );
    for ((route, status), count) in observed.requests.all() {
        requests.sample(&[("route", &route), ("status", &status.to_string())], count);
    }
}

fn calls(out: &mut Exposition, observed: &Observed) {
    let mut calls = out.family(Kind::Counter, "sessionfold_mcp_calls_total", "Calls of agents, by tool and outcome.");
    for (tool, of_tool) in observed.mcp.calls() {
        for outcome in Outcome::ALL {
            let count = of_tool.outcomes.get(&outcome).copied().unwrap_or(0);
            calls.sample(&[("tool", tool), ("outcome", outcome.as_str())], count);
        }
    }
    let mut seconds = out.family(
        Kind::Counter,
        "sessionfold_mcp_call_seconds_total",
        "Time spent on calls of agents, with the wait for their turns, by tool.",
    );
    for (tool, of_tool) in observed.mcp.calls() {
        seconds.sample(&[("tool", tool)], of_tool.time.as_secs_f64());
    }
}

fn since_1970(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
