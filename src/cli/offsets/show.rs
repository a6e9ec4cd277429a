//! `sessionfold offsets show`.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        CommandResult,
        table::{Column, Table},
        terminal::{Terminal, wrapped},
    },
    config::{Config, KafkaConfig},
    record::{NextOffset, TopicPartition},
    store::{AdoptedOffset, Store},
    stream::{LogEnds, known_log_ends, record_times},
};

use super::TIMEOUT;

#[derive(Args)]
pub(super) struct ShowArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The last decisions that are shown.
const SHOWN_DECISIONS: u32 = 20;
/// How long the next unread records may take to be fetched.
const FETCH_TIME: Duration = Duration::from_secs(5);

pub(super) async fn execute(config: &Config, store: &Store, args: ShowArgs) -> CommandResult {
    let group_id = &config.kafka.group_id;
    let checkpoints = store.checkpoints_of_group(group_id).await?;
    let decisions = store.adopted_offsets(group_id, SHOWN_DECISIONS).await?;
    let kafka = config.kafka.clone();
    let (rows, problem) = tokio::task::spawn_blocking(move || rows(&kafka, checkpoints)).await?;
    if args.json {
        let partitions: Vec<Value> = rows.iter().map(Row::as_json).collect();
        let decisions: Vec<Value> = decisions.iter().map(|(adopted, at)| decision_as_json(adopted, *at)).collect();
        outln!("{}", json!({"group_id": group_id, "partitions": partitions, "broker": problem, "adopted": decisions}));
        return Ok(ExitCode::SUCCESS);
    }
    match problem {
        Some(problem) => eprintln!("the broker's part is missing: {problem}"),
        None => faults(&rows).iter().for_each(|fault| eprintln!("{fault}")),
    }
    let terminal = Terminal::of_stdout();
    print(&rows, terminal);
    for (adopted, at) in &decisions {
        let AdoptedOffset { step, log_start, log_end } = adopted;
        let (at, partition) = (at.to_rfc3339_opts(SecondsFormat::Secs, true), &step.partition);
        let (from, to, gap) = (step.expected, step.next, adopted.gap());
        let log = format!("its log held {log_start} to {log_end}");
        let line = format!("moved {at}: {partition} from {from} to {to}, {gap} skipped; {log}");
        outln!("{}", wrapped(&line, 4, terminal.width));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known of a partition.
struct Row {
    partition: TopicPartition,
    checkpoint: Option<NextOffset>,
    /// What the broker says, or why that is missing.
    ends: Result<LogEnds, String>,
    /// How long the first record that wasn't read has been waiting.
    behind: Option<Duration>,
}

impl Row {
    /// Offsets between the checkpoint and the end of the log: of a partition that nobody has begun to read, all.
    fn lag(&self) -> Option<u64> {
        self.ends.as_ref().ok()?.left_from(self.checkpoint)
    }

    fn as_json(&self) -> Value {
        let ends = self.ends.as_ref().ok();
        let offset = |offset: Option<NextOffset>| offset.map(NextOffset::get);
        json!({
            "topic": &*self.partition.topic,
            "partition": self.partition.partition,
            "checkpoint": offset(self.checkpoint),
            "committed": offset(ends.and_then(|ends| ends.committed)),
            "earliest": offset(ends.map(|ends| ends.earliest)),
            "latest": offset(ends.map(|ends| ends.latest)),
            "lag": self.lag(),
            "behind_seconds": self.behind.map(|behind| behind.as_secs_f64()),
            "error": self.ends.as_ref().err(),
        })
    }

    fn cells(&self) -> [String; 7] {
        let text = |offset: Option<NextOffset>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        let [committed, earliest, latest] = match &self.ends {
            Ok(ends) => [text(ends.committed), ends.earliest.to_string(), ends.latest.to_string()],
            Err(_) => ["?"; 3].map(str::to_owned),
        };
        let lag = self.lag().map_or_else(|| "?".to_owned(), |lag| lag.to_string());
        let behind = match (self.behind, self.lag()) {
            (Some(behind), _) => in_words(behind),
            (None, Some(0)) => "-".to_owned(),
            (None, _) => "?".to_owned(),
        };
        [self.partition.to_string(), text(self.checkpoint), committed, earliest, latest, lag, behind]
    }
}

/// A row for each partition of the configured topics and for each checkpoint. Blocks.
fn rows(kafka: &KafkaConfig, mut checkpoints: BTreeMap<TopicPartition, NextOffset>) -> (Vec<Row>, Option<String>) {
    let (known, problem) = match known_log_ends(kafka, TIMEOUT) {
        Ok(known) => (known, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let mut rows: Vec<Row> = known
        .into_iter()
        .map(|(partition, ends)| Row {
            checkpoint: checkpoints.remove(&partition),
            partition,
            ends: ends.map_err(|error| error.to_string()),
            behind: None,
        })
        .collect();
    let why = if problem.is_some() { "the broker was not asked" } else { "no partition of the configured topics" };
    rows.extend(checkpoints.into_iter().map(|(partition, next)| Row {
        partition,
        checkpoint: Some(next),
        ends: Err(why.to_owned()),
        behind: None,
    }));
    find_times(kafka, &mut rows);
    (rows, problem)
}

/// Fetches the first record that wasn't read, where there is one. A partition without an answer stays without a time.
fn find_times(kafka: &KafkaConfig, rows: &mut [Row]) {
    let unread = |row: &Row| {
        let ends = row.ends.as_ref().ok().filter(|_| row.lag().is_some_and(|lag| lag > 0))?;
        Some((row.partition.clone(), row.checkpoint.unwrap_or(ends.earliest).max(ends.earliest)))
    };
    let unread: Vec<(TopicPartition, NextOffset)> = rows.iter().filter_map(unread).collect();
    let times = record_times(kafka, &unread, FETCH_TIME).unwrap_or_default();
    let now = Utc::now();
    for row in rows {
        let sent_at = times.get(&row.partition).and_then(|time| time.as_utc());
        row.behind = sent_at.map(|sent_at| (now - sent_at).to_std().unwrap_or_default());
    }
}

fn decision_as_json(adopted: &AdoptedOffset, at: DateTime<Utc>) -> Value {
    let AdoptedOffset { step, log_start, log_end } = adopted;
    json!({
        "topic": &*step.partition.topic,
        "partition": step.partition.partition,
        "from_offset": step.expected.get(),
        "to_offset": step.next.get(),
        "gap": adopted.gap(),
        "log_start": log_start.get(),
        "log_end": log_end.get(),
        "adopted_at": at,
    })
}

fn print(rows: &[Row], terminal: Terminal) {
    let mut table = Table::new([
        Column::text("partition"),
        Column::number("checkpoint"),
        Column::number("committed"),
        Column::number("earliest"),
        Column::number("latest"),
        Column::number("lag"),
        Column::number("behind"),
    ]);
    rows.iter().for_each(|row| table.add(row.cells()));
    out!("{}", table.drawn(terminal));
}

/// What isn't known, and why: of partitions that fail alike it is said once.
fn faults(rows: &[Row]) -> Vec<String> {
    let mut partitions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in rows {
        if let Err(error) = &row.ends {
            partitions.entry(error).or_default().push(row.partition.to_string());
        }
    }
    let told = partitions.into_iter().map(|(error, partitions)| match partitions.as_slice() {
        [first, second, _, ..] => format!("{first}, {second} and {} more: {error}", partitions.len() - 2),
        _ => format!("{}: {error}", partitions.join(", ")),
    });
    told.collect()
}

/// The two largest units: `3d 4h`, `12s`.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", seconds / 86_400), ("h", seconds / 3_600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let parts = units.iter().skip_while(|(_, count)| *count == 0).take(2).filter(|(_, count)| *count > 0);
    let parts: Vec<String> = parts.map(|(unit, count)| format!("{count}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_fail_alike_are_told_together() {
        let row = |number, error: &str| Row {
            partition: TopicPartition::new("t", number),
            checkpoint: None,
            ends: Err(error.to_owned()),
            behind: None,
        };
        let rows = [row(0, "away"), row(1, "away"), row(2, "no leader"), row(3, "away"), row(4, "away")];
        assert_eq!(faults(&rows), ["t[0], t[1] and 2 more: away", "t[2]: no leader"]);
        assert_eq!(faults(&rows[..2]), ["t[0], t[1]: away"]);
        assert!(faults(&[]).is_empty());
    }

    #[test]
    fn a_time_behind_is_told_by_its_two_largest_units() {
        for (seconds, words) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3_725, "1h 2m"), (86_405, "1d"), (273_600, "3d 4h")]
        {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
