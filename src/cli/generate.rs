//! `sessionfold generate`: synthetic, seeded events to Kafka.

use std::{process::ExitCode, time::Duration};

use crate::{
    config::{Config, KafkaConfig},
    event::{EventKind, EventTime},
    generate::{Generator, Shape},
    stream::{KindTopics, Producer, create_topics, produce},
};
use anyhow::{Context, ensure};
use chrono::{TimeDelta, Utc};
use clap::Args;
use serde_json::json;

use super::{
    CommandResult, Failure,
    arguments::{share, whole},
    logging,
    progress::grouped,
    terminal::{Terminal, wrapped},
};

#[derive(Args)]
#[command(after_help = "Example: sessionfold generate --records 10000 --create-topics 6")]
pub(super) struct GenerateArgs {
    /// How many records to send, duplicates and bad ones included
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = whole(0_u64..))]
    records: u64,
    /// The same seed and start give the same records
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(0_u64..))]
    seed: u64,
    /// When the first session starts, like 2026-03-01T09:00:00Z [default: a day ago]
    #[arg(long, value_name = "TIME", value_parser = EventTime::parse)]
    start: Option<EventTime>,
    /// Share of records sent a second time, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = share)]
    duplicates: f64,
    /// Share of records sent late, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.10, value_parser = share)]
    late: f64,
    /// Share of records that are no good events, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.005, value_parser = share)]
    bad: f64,
    /// Create the four topics with this many partitions each, where they are missing
    #[arg(long, value_name = "PARTITIONS", value_parser = whole(1_i32..))]
    create_topics: Option<i32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl GenerateArgs {
    fn shape(&self, max_value_bytes: usize) -> anyhow::Result<Shape> {
        ensure!(self.duplicates + self.bad < 0.9, "--duplicates and --bad together must stay below 0.9");
        Ok(Shape {
            records: self.records,
            seed: self.seed,
            start: self.start.map_or_else(|| Utc::now() - TimeDelta::days(1), |start| start.as_utc()),
            duplicate_share: self.duplicates,
            late_share: self.late,
            bad_share: self.bad,
            max_value_bytes,
            ..Shape::default()
        })
    }
}

pub(super) async fn execute(config: Config, args: GenerateArgs) -> CommandResult {
    logging::start(&config.log)?;
    let shape = args.shape(config.events.max_value_bytes.get()).map_err(Failure::Usage)?;
    let topics = topics_by_kind(&config.kafka.topics).map_err(Failure::Usage)?;
    if let Some(partitions) = args.create_topics {
        create_topics(&config.kafka, &config.kafka.topics, partitions).await?;
    }
    let sent = send(config.kafka.clone(), shape, topics).await?;
    if args.json {
        outln!("{}", json!({"sent": sent, "topics": config.kafka.topics}));
    } else {
        let line = format!("{} records sent to {}", grouped(sent), config.kafka.topics.join(", "));
        outln!("{}", wrapped(&line, 2, Terminal::of_stdout().width));
    }
    Ok(ExitCode::SUCCESS)
}

/// Which of the configured topics takes which kind: by the ends of their names, which the default ones have too.
fn topics_by_kind(topics: &[String]) -> anyhow::Result<KindTopics> {
    let topic = |kind| topic_of_kind(topics, kind);
    Ok(KindTopics {
        started: topic(EventKind::Started)?,
        ended: topic(EventKind::Ended)?,
        prompt: topic(EventKind::Prompt)?,
        tool: topic(EventKind::Tool)?,
    })
}

/// The configured topic of this kind.
pub(super) fn topic_of_kind(topics: &[String], kind: EventKind) -> anyhow::Result<String> {
    let part = match kind {
        EventKind::Started => "session.started",
        EventKind::Ended => "session.ended",
        EventKind::Prompt => "prompt.submitted",
        EventKind::Tool => "tool.executed",
    };
    let found = topics.iter().find(|topic| topic.contains(part)).cloned();
    found.with_context(|| format!("kafka.topics: none has `{part}` in its name, so its kind has no topic"))
}

/// Sends all records of a shape and waits until the broker has them. Returns how many.
pub(super) async fn send(kafka: KafkaConfig, shape: Shape, topics: KindTopics) -> Result<u64, Failure> {
    let sending = tokio::task::spawn_blocking(move || {
        let producer = Producer::new(&kafka)?;
        let sent = produce(Generator::new(shape), &producer, &topics)?;
        producer.flush(Duration::from_secs(60))?;
        Ok::<_, crate::stream::StreamError>(sent)
    });
    Ok(sending.await??)
}
