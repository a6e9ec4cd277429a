//! `sessionfold offsets`: where the checkpoints stand, and the decision how a halted partition goes on.

use std::{process::ExitCode, str::FromStr, time::Duration};

use crate::{
    config::Config,
    record::{NextOffset, TopicPartition},
    service::{open_store, preflight_database},
    store::{AdoptedOffset, CheckpointMove, Store},
    stream::{KnownLogEnds, known_log_ends},
};
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};

use super::{CommandResult, Failure, check::first_problem, confirm::confirm};

#[derive(Args)]
pub(super) struct OffsetsArgs {
    #[command(subcommand)]
    command: OffsetsCommand,
}

#[derive(Subcommand)]
enum OffsetsCommand {
    /// Show the checkpoint, Kafka's committed offset, and the log's ends, by partition
    Show,
    /// Move the checkpoint of a partition whose log no longer holds it
    ///
    /// For a partition that halted because retention ran over its checkpoint or its topic was made anew. Records
    /// between the old checkpoint and a later new one are skipped for good; records after an earlier one are read again,
    /// where events are taken for the duplicates that they are, and bad records become dead letters once more. Restart
    /// the instances that halted the partition afterwards.
    ///
    /// Example: sessionfold offsets adopt --topic dev.omniclaude.tool.executed.v1 --partition 0 --to earliest
    Adopt(AdoptArgs),
}

#[derive(Args)]
struct AdoptArgs {
    #[arg(long)]
    topic: String,
    #[arg(long)]
    partition: i32,
    /// earliest, latest, or the offset of the next record to read
    #[arg(long)]
    to: Target,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Also to an offset outside the log as the broker tells it
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy)]
enum Target {
    Earliest,
    Latest,
    Offset(NextOffset),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => match text.parse() {
                Ok(offset) if offset >= 0 => Ok(Self::Offset(NextOffset::new(offset))),
                _ => Err("allowed: earliest, latest, or an offset of at least 0".to_owned()),
            },
        }
    }
}

/// The last decisions that are shown.
const SHOWN_DECISIONS: u32 = 20;
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn execute(config: Config, args: OffsetsArgs) -> CommandResult {
    let store = open_store(&config);
    first_problem(&preflight_database(&store, false).await)?;
    let kafka = config.kafka.clone();
    let ends = tokio::task::spawn_blocking(move || known_log_ends(&kafka, TIMEOUT)).await??;
    let result = match args.command {
        OffsetsCommand::Show => show(&config, &store, &ends).await,
        OffsetsCommand::Adopt(args) => adopt(&config, &store, &ends, args).await,
    };
    store.close().await;
    result
}

async fn show(config: &Config, store: &Store, ends: &[KnownLogEnds]) -> CommandResult {
    let partitions: Vec<TopicPartition> = ends.iter().map(|(partition, _)| partition.clone()).collect();
    let checkpoints = store.checkpoints(&config.kafka.group_id, &partitions).await?;
    let width = partitions.iter().map(|partition| partition.to_string().len()).max().unwrap_or(0).max(9);
    println!("{:<width$} {:>12} {:>12} {:>12} {:>12}", "partition", "checkpoint", "committed", "earliest", "latest");
    let text = |offset: Option<NextOffset>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
    for (partition, ends) in ends {
        let checkpoint = text(checkpoints.get(partition).copied());
        let [committed, earliest, latest] = match ends {
            Ok(ends) => [text(ends.committed), ends.earliest.to_string(), ends.latest.to_string()],
            Err(_) => ["?"; 3].map(str::to_owned),
        };
        println!("{:<width$} {checkpoint:>12} {committed:>12} {earliest:>12} {latest:>12}", partition.to_string());
        if let Err(error) = ends {
            eprintln!("{partition}: {error}");
        }
    }
    for (adopted, at) in store.adopted_offsets(&config.kafka.group_id, SHOWN_DECISIONS).await? {
        let AdoptedOffset { step, log_start, log_end } = &adopted;
        let (at, partition) = (at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), &step.partition);
        let (from, to, gap) = (step.expected, step.next, adopted.gap());
        println!("adopted {at}: {partition} from {from} to {to}, {gap} skipped; its log held {log_start} to {log_end}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn adopt(config: &Config, store: &Store, ends: &[KnownLogEnds], args: AdoptArgs) -> CommandResult {
    let partition = TopicPartition::new(args.topic.as_str(), args.partition);
    let (_, ends) = ends
        .iter()
        .find(|(known, _)| *known == partition)
        .with_context(|| format!("{partition} is no partition of the configured topics; see kafka.topics"))
        .map_err(Failure::Usage)?;
    let ends = ends.as_ref().map_err(|error| anyhow!("where the log of {partition} ends is not known: {error}"))?;
    let group_id = &config.kafka.group_id;
    let checkpoints = store.checkpoints(group_id, std::slice::from_ref(&partition)).await?;
    let expected = checkpoints.get(&partition).copied().with_context(|| {
        format!("{partition} has no checkpoint for group {group_id}, so there is nothing to decide: `run` makes one")
    })?;
    let next = match args.to {
        Target::Earliest => ends.earliest,
        Target::Latest => ends.latest,
        Target::Offset(offset) => offset,
    };
    println!(
        "group {group_id}: the checkpoint of {partition} goes from {expected} to {next}; its log holds {} to {}",
        ends.earliest, ends.latest
    );
    if !args.force && !(ends.earliest..=ends.latest).contains(&next) {
        return Err(Failure::Usage(anyhow!("{next} is outside the log, where reading would halt; --force does it")));
    }
    let step = CheckpointMove { partition, expected, next };
    let adopted = AdoptedOffset { step, log_start: ends.earliest, log_end: ends.latest };
    println!("{}", consequence(&adopted));
    if !args.yes && !confirm()? {
        return Err(Failure::Usage(anyhow!("nothing was changed; confirm with --yes")));
    }
    store.adopt_offset(group_id, &adopted).await?;
    println!("done, and kept in the table adopted_offsets; restart the instances that halted the partition");
    Ok(ExitCode::SUCCESS)
}

/// What the decision means for records, in words.
fn consequence(adopted: &AdoptedOffset) -> String {
    let AdoptedOffset { step: CheckpointMove { expected, next, .. }, log_end, .. } = adopted;
    match adopted.gap() {
        gap if adopted.is_of_another_log() => format!(
            "{expected} is beyond the end of the log, so nothing of this log was read: {gap} offsets before {next} are \
             skipped for good, and what it holds from {next} on is read"
        ),
        0 if expected == next => "that is where it stands".to_owned(),
        0 => format!("what the log holds from {next} to {log_end} is read, again where it was read before"),
        gap => format!("{gap} offsets are skipped for good"),
    }
}
