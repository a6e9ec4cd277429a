//! `sessionfold offsets seek` and `adopt`: an operator moves checkpoints, and the decision is kept.

use std::{collections::HashMap, process::ExitCode};

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        CommandResult, Failure,
        arguments::whole,
        confirm::ask,
        terminal::{Terminal, wrapped},
    },
    config::Config,
    record::{NextOffset, TopicPartition},
    store::{AdoptedOffset, CheckpointMove, Store},
    stream::{GroupMember, KnownLogEnds, LogEnds, group_members, known_log_ends, offsets_at},
};

use super::{
    TIMEOUT,
    target::{Place, Target},
};

#[derive(Args)]
pub(super) struct AdoptArgs {
    /// One of kafka.topics
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// The partition whose checkpoint moves
    #[arg(long, value_name = "NUMBER", value_parser = whole(0_i32..))]
    partition: i32,
    /// earliest, latest, or the offset of the next record to read
    #[arg(long, value_name = "PLACE")]
    to: Place,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Also to an offset outside the log as the broker tells it
    #[arg(long)]
    force: bool,
    /// Print one JSON array of what was decided; what it means goes to standard error
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct SeekArgs {
    /// One of kafka.topics
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// Only this partition, instead of all of the topic; may be given several times
    #[arg(long, value_name = "NUMBER", value_parser = whole(0_i32..))]
    partition: Vec<i32>,
    /// earliest, latest, the offset of the next record to read, or the time from which on records were sent
    #[arg(long, value_name = "PLACE")]
    to: Target,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Also where the broker doesn't tell whether an instance runs
    #[arg(long)]
    force: bool,
    /// Print one JSON array of what was decided; what it means goes to standard error
    #[arg(long)]
    json: bool,
}

pub(super) async fn adopt(config: &Config, store: &Store, args: AdoptArgs) -> CommandResult {
    let partition = TopicPartition::new(args.topic.as_str(), args.partition);
    let ends = ends_of(config, &args.topic, &[args.partition]).await?.remove(0);
    let group_id = &config.kafka.group_id;
    let checkpoints = store.checkpoints(group_id, std::slice::from_ref(&partition)).await?;
    let expected = checkpoints.get(&partition).copied().with_context(|| {
        format!("{partition} has no checkpoint for group {group_id}, so there is nothing to decide: `run` makes one")
    })?;
    let adopted = decision(expected, &ends, next(args.to, &ends));
    if !args.force {
        refuse_outside_the_log(&adopted).map_err(|why| Failure::Usage(anyhow!("{why}; --force does it")))?;
    }
    if adopted.step.expected == adopted.step.next {
        return nothing_to_do(args.json);
    }
    tell(group_id, &adopted, args.json);
    ask(args.yes)?;
    store.adopt_offset(group_id, &adopted).await?;
    let done = "done, and kept in the table adopted_offsets; restart the instances that halted the partition";
    outln!("{}", if args.json { as_json(&[adopted]).to_string() } else { done.to_owned() });
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn seek(config: &Config, store: &Store, args: SeekArgs) -> CommandResult {
    let ends = ends_of(config, &args.topic, &args.partition).await?;
    refuse_while_somebody_reads(config, &ends, args.force).await?;
    let partitions: Vec<TopicPartition> = ends.iter().map(|ends| ends.partition.clone()).collect();
    let times = match args.to {
        Target::Place(_) => HashMap::new(),
        Target::Time(time) => {
            let (kafka, ends) = (config.kafka.clone(), ends.clone());
            let latest = ends.into_iter().map(|ends| (ends.partition, ends.latest)).collect();
            let locate = move || offsets_at(&kafka, &latest, time.as_utc(), TIMEOUT);
            tokio::task::spawn_blocking(locate).await??
        }
    };
    let next = |ends: &LogEnds| match args.to {
        Target::Place(place) => next(place, ends),
        // All that the log holds was sent before.
        Target::Time(_) => times.get(&ends.partition).copied().unwrap_or(ends.latest),
    };
    let group_id = &config.kafka.group_id;
    let checkpoints = store.checkpoints(group_id, &partitions).await?;
    let mut adopted = Vec::new();
    for ends in &ends {
        let stands_at = checkpoints.get(&ends.partition).copied();
        let decision = decision(stands_at.unwrap_or(ends.earliest), ends, next(ends));
        refuse_outside_the_log(&decision).map_err(|why| Failure::Usage(anyhow!(why)))?;
        if stands_at != Some(decision.step.next) {
            adopted.push(decision);
        }
    }
    if adopted.is_empty() {
        return nothing_to_do(args.json);
    }
    adopted.iter().for_each(|decision| tell(group_id, decision, args.json));
    ask(args.yes)?;
    // One that nobody has begun to read gets its checkpoint now.
    let starts: Vec<(TopicPartition, NextOffset)> =
        adopted.iter().map(|decision| (decision.step.partition.clone(), decision.log_start)).collect();
    store.create_checkpoints(group_id, &starts).await?;
    store.adopt_offsets(group_id, &adopted).await?;
    let done = "done, and kept in the table adopted_offsets";
    outln!("{}", if args.json { as_json(&adopted).to_string() } else { done.to_owned() });
    Ok(ExitCode::SUCCESS)
}

fn nothing_to_do(json: bool) -> CommandResult {
    outln!("{}", if json { "[]" } else { "nothing to do: each checkpoint stands there already" });
    Ok(ExitCode::SUCCESS)
}

/// The ends of these partitions of a topic, or of all.
async fn ends_of(config: &Config, topic: &str, wanted: &[i32]) -> Result<Vec<LogEnds>, Failure> {
    let kafka = config.kafka.clone();
    let known = tokio::task::spawn_blocking(move || known_log_ends(&kafka, TIMEOUT)).await??;
    let of_topic = |(partition, _): &KnownLogEnds| *partition.topic == *topic;
    let mut of_topic: Vec<KnownLogEnds> = known.into_iter().filter(of_topic).collect();
    let is_there = |number: &i32| of_topic.iter().any(|(partition, _)| partition.partition == *number);
    let missing = wanted.iter().copied().find(|number| !is_there(number)).or(of_topic.is_empty().then_some(0));
    if let Some(number) = missing {
        let partition = TopicPartition::new(topic, number);
        return Err(anyhow!("{partition} is no partition of the configured topics; see kafka.topics").into());
    }
    of_topic.retain(|(partition, _)| wanted.is_empty() || wanted.contains(&partition.partition));
    let ends = |(partition, ends): KnownLogEnds| {
        ends.map_err(|error| anyhow!("where the log of {partition} ends is not known: {error}").into())
    };
    of_topic.into_iter().map(ends).collect()
}

/// An instance would be fenced, let go of what it has read, and go on from the new checkpoint: so that nobody wonders,
/// there must be none. A group that has committed offsets is listed by Kafka, whoever is in it; a broker that doesn't list
/// it can't tell.
async fn refuse_while_somebody_reads(config: &Config, ends: &[LogEnds], force: bool) -> Result<(), Failure> {
    let kafka = config.kafka.clone();
    let members = tokio::task::spawn_blocking(move || group_members(&kafka, TIMEOUT)).await?;
    let members = members.context("who is in the group is not known")?;
    let group_id = &config.kafka.group_id;
    let is_known = members.is_some() || ends.iter().all(|ends| ends.committed.is_none());
    if !is_known && !force {
        let what = format!("the broker doesn't tell who is in group {group_id}: stop all instances, then use --force");
        return Err(anyhow!(what).into());
    }
    let named = |member: &GroupMember| match member.host.as_str() {
        "" => member.id.clone(),
        host => format!("{} at {host}", member.id),
    };
    let members: Vec<String> = members.iter().flatten().map(named).collect();
    if members.is_empty() {
        return Ok(());
    }
    let which = members.join(", ");
    Err(anyhow!(
        "group {group_id} has members ({which}): stop all instances; one that was killed is a member until its session \
         timeout is over"
    )
    .into())
}

fn next(place: Place, ends: &LogEnds) -> NextOffset {
    match place {
        Place::Earliest => ends.earliest,
        Place::Latest => ends.latest,
        Place::Offset(offset) => offset,
    }
}

fn decision(expected: NextOffset, ends: &LogEnds, next: NextOffset) -> AdoptedOffset {
    let step = CheckpointMove { partition: ends.partition.clone(), expected, next };
    AdoptedOffset { step, log_start: ends.earliest, log_end: ends.latest }
}

fn refuse_outside_the_log(adopted: &AdoptedOffset) -> Result<(), String> {
    let AdoptedOffset { step: CheckpointMove { next, .. }, log_start, log_end } = adopted;
    if (log_start..=log_end).contains(&next) {
        return Ok(());
    }
    let partition = &adopted.step.partition;
    Err(format!(
        "{next} is outside the log of {partition}, which holds {log_start} to {log_end}: reading would halt there"
    ))
}

fn as_json(adopted: &[AdoptedOffset]) -> Value {
    let decision = |adopted: &AdoptedOffset| {
        let AdoptedOffset { step: CheckpointMove { partition, expected, next }, log_start, log_end } = adopted;
        json!({
            "topic": &*partition.topic, "partition": partition.partition,
            "from_offset": expected.get(), "to_offset": next.get(),
            "log_start": log_start.get(), "log_end": log_end.get(), "gap": adopted.gap(),
        })
    };
    adopted.iter().map(decision).collect()
}

/// Says what will be done, and what that means for records.
fn tell(group_id: &str, adopted: &AdoptedOffset, to_standard_error: bool) {
    let AdoptedOffset { step: CheckpointMove { partition, expected, next }, log_start, log_end } = adopted;
    let step = format!(
        "group {group_id}: the checkpoint of {partition} goes from {expected} to {next}; its log holds {log_start} to \
         {log_end}"
    );
    if to_standard_error {
        eprintln!("{step}\n{}", consequence(adopted));
    } else {
        let width = Terminal::of_stdout().width;
        outln!("{}\n{}", wrapped(&step, 2, width), wrapped(&consequence(adopted), 2, width));
    }
}

fn consequence(adopted: &AdoptedOffset) -> String {
    let AdoptedOffset { step: CheckpointMove { expected, next, .. }, log_end, .. } = adopted;
    match adopted.gap() {
        gap if adopted.is_of_another_log() => format!(
            "{expected} is beyond the end of the log, so nothing of this log was read: {gap} offsets before {next} are \
             skipped for good, and what it holds from {next} on is read"
        ),
        0 if expected == next => "nobody has begun to read it: it begins there".to_owned(),
        0 => format!("what the log holds from {next} to {log_end} is read, again where it was read before"),
        gap => format!("{gap} offsets are skipped for good"),
    }
}
