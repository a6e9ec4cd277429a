//! `sessionfold retention`: what is too old goes, once.

use std::{process::ExitCode, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    config::Config,
    record::TopicPartition,
    service::{Cutoffs, Retention, open_store, preflight_database},
    store::{Expiring, Store},
    stream::{KnownLogEnds, known_log_ends},
};

use super::{
    CommandResult, Failure,
    check::first_problem,
    confirm::ask,
    progress::{ProgressLine, grouped},
};

/// Deletes sessions, dead letters and published transitions that are older than `[retention]` in the configuration
/// allows, as `run` does while it runs.
#[derive(Args)]
#[command(after_help = "Example: sessionfold retention --set retention.sessions=90d --dry-run")]
pub(super) struct RetentionArgs {
    /// Only tell how many there are
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How long the broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(8);

pub(super) async fn execute(config: Config, args: RetentionArgs) -> CommandResult {
    let store = open_store(&config);
    first_problem(&preflight_database(&store, false).await)?;
    let result = delete(&config, &store, args).await;
    store.close().await;
    result
}

/// What is too old, and how much it is.
type Found = Vec<(Expiring, DateTime<Utc>, u64)>;

async fn delete(config: &Config, store: &Store, args: RetentionArgs) -> CommandResult {
    let retention = Retention::new(config, store.clone());
    if retention.ages().is_empty() {
        eprintln!("nothing has an age: see [retention] in the configuration");
    }
    let deletes_sessions = retention.ages().iter().any(|(what, _)| *what == Expiring::Sessions);
    let caught_up_at = if deletes_sessions { caught_up_at(config, store).await? } else { None };
    let cutoffs = retention.cutoffs(caught_up_at).await?;
    if deletes_sessions && !cutoffs.contains_key(&Expiring::Sessions) {
        eprintln!(
            "sessions are left: no instant is known by which all partitions were read to their end (a moved checkpoint \
             forgets it), so events of old ones may follow; let the service run or drain first"
        );
    }
    let found = count(store, &cutoffs).await?;
    if args.dry_run || found.iter().all(|(.., rows)| *rows == 0) {
        report(&found, args.dry_run, args.json);
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("to be deleted for good in schema {}:", store.schema());
    for (what, before, rows) in &found {
        eprintln!("  {}", line(*what, *before, *rows));
    }
    ask(args.yes)?;
    let mut deleted = Found::new();
    let mut progress = ProgressLine::new();
    for (what, before, rows) in found {
        let say = |sum| progress.say(|| format!("{}: {} of {}", name(what), grouped(sum), grouped(rows)));
        deleted.push((what, before, retention.delete(what, before, say).await?));
    }
    drop(progress);
    report(&deleted, false, args.json);
    Ok(ExitCode::SUCCESS)
}

/// Now, if nothing that the logs hold is missing in the tables. None where that isn't so or the broker doesn't answer.
async fn caught_up_at(config: &Config, store: &Store) -> Result<Option<DateTime<Utc>>, Failure> {
    let asked_at = Utc::now();
    let kafka = config.kafka.clone();
    let ends = match tokio::task::spawn_blocking(move || known_log_ends(&kafka, TIMEOUT)).await? {
        Ok(ends) => ends,
        Err(error) => {
            eprintln!("the broker was not asked how far the tables are: {error}");
            return Ok(None);
        }
    };
    let partitions: Vec<TopicPartition> = ends.iter().map(|(partition, _)| partition.clone()).collect();
    let checkpoints = store.checkpoints(&config.kafka.group_id, &partitions).await?;
    let is_read = |(partition, ends): &KnownLogEnds| {
        let next = checkpoints.get(partition);
        ends.as_ref().is_ok_and(|ends| next.is_some_and(|next| *next >= ends.latest))
    };
    Ok((!ends.is_empty() && ends.iter().all(is_read)).then_some(asked_at))
}

async fn count(store: &Store, cutoffs: &Cutoffs) -> Result<Found, Failure> {
    let mut found = Found::new();
    for (what, before) in cutoffs {
        found.push((*what, *before, store.count_expired(*what, *before).await?));
    }
    Ok(found)
}

fn report(rows: &Found, dry_run: bool, as_json: bool) {
    if as_json {
        let counts = rows.iter().map(|(what, before, rows)| {
            let key = name(*what).replace(' ', "_");
            (key, json!({"before": before, if dry_run { "found" } else { "deleted" }: rows}))
        });
        let counts: Map<String, Value> = counts.collect();
        return outln!("{}", Value::Object(counts));
    }
    for (what, before, rows) in rows {
        outln!("{}", line(*what, *before, *rows));
    }
    if dry_run {
        outln!("nothing was changed");
    } else if rows.iter().any(|(.., rows)| *rows > 0) {
        outln!("deleted");
    } else {
        outln!("nothing to delete");
    }
}

fn line(what: Expiring, before: DateTime<Utc>, rows: u64) -> String {
    let before = before.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("{:<22}{:>12}   {} before {before}", name(what), grouped(rows), by(what))
}

fn name(what: Expiring) -> &'static str {
    match what {
        Expiring::Sessions => "sessions",
        Expiring::SettledDeadLetters => "dead letters",
        Expiring::OpenDeadLetters => "open dead letters",
        Expiring::PublishedTransitions => "transitions",
    }
}

fn by(what: Expiring) -> &'static str {
    match what {
        Expiring::Sessions => "last event",
        Expiring::SettledDeadLetters | Expiring::OpenDeadLetters => "set aside",
        Expiring::PublishedTransitions => "published",
    }
}
