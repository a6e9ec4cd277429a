//! `sessionfold sessions finalize`.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        CommandResult, Failure,
        generate::topic_of_kind,
        terminal::{print, visible},
    },
    config::{Config, KafkaConfig, parse_duration},
    event::{Event, EventKind, EventTime, RedactedText, SessionId},
    fold::{SideAggregators, Status},
    service::{NotFinalized, decoder, plan_end, with_aggregators},
    store::Store,
    stream::{Outgoing, Producer, StreamError},
};

use super::{
    reason::reason,
    text::{instant, quoted},
};

#[derive(Args)]
pub(super) struct FinalizeArgs {
    /// The session to end
    #[arg(value_name = "SESSION", value_parser = SessionId::parse)]
    session: SessionId,
    /// Why, in up to 160 characters; secrets are redacted
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: RedactedText,
    /// When it ended, like 2026-03-01T09:00:00Z [default: with its last event]
    #[arg(long, value_name = "TIME", value_parser = EventTime::parse)]
    at: Option<EventTime>,
    /// The topic to send the end to [default: the one of kafka.topics with `session.ended` in its name]
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// How long to wait for the service to fold it
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    wait: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Between two looks whether the service has folded it.
const POLL: Duration = Duration::from_millis(200);
/// How long the brokers may take to take it.
const DELIVERY: Duration = Duration::from_secs(60);

pub(super) async fn execute(config: &Config, store: &Store, args: FinalizeArgs) -> CommandResult {
    let topic = topic(&config.kafka, args.topic)?;
    let (decoder, name) = (decoder(config), quoted(args.session.as_str()));
    let planned = with_aggregators!(config, SideAggregators::default(), |aggregators| {
        plan_end(store, &aggregators, &decoder, &args.session, args.at, args.reason).await
    });
    let event = planned.map_err(|error| match error {
        NotFinalized::WouldNotEnd { .. } | NotFinalized::Refused { .. } => Failure::Usage(anyhow!(error).context(name)),
        NotFinalized::Store(_) => error.into(),
        _ => Failure::Runtime(anyhow!(error).context(name)),
    })?;
    send(config.kafka.clone(), topic.clone(), event.clone()).await?;
    let status = until_folded(store, &event, args.wait).await;
    let text = if args.json { as_json(&topic, &event, status) } else { told(&topic, &event, status, args.wait) };
    let _ = print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// One that the service reads, or nobody would fold the event.
fn topic(kafka: &KafkaConfig, wanted: Option<String>) -> Result<String, Failure> {
    let Some(wanted) = wanted else {
        let found = topic_of_kind(&kafka.topics, EventKind::Ended).context("name the topic of ends with --topic");
        return found.map_err(Failure::Usage);
    };
    if kafka.topics.contains(&wanted) {
        return Ok(wanted);
    }
    Err(anyhow!("{wanted} is none of kafka.topics: {}", kafka.topics.join(", ")).into())
}

/// Sends the event and waits until all replicas in sync have it.
async fn send(kafka: KafkaConfig, topic: String, event: Event) -> Result<(), Failure> {
    let value = event.to_json().to_string();
    let sending = tokio::task::spawn_blocking(move || {
        let producer = Producer::new(&kafka)?;
        producer.send(Outgoing {
            topic: &topic,
            // As the session's other records: so it lies in the partition of one number with them.
            key: Some(event.session_id.as_str().as_bytes()),
            value: Some(value.as_bytes()),
            ..Outgoing::default()
        })?;
        producer.flush(DELIVERY)?;
        Ok::<_, StreamError>(())
    });
    Ok(sending.await?.context("the end was not sent")?)
}

/// The session's status once the event is in the tables; none if that takes too long, or Postgres can't be asked: the
/// event is in the log all the same.
async fn until_folded(store: &Store, event: &Event, wait: Duration) -> Option<Status> {
    let deadline = Instant::now() + wait;
    loop {
        if let Ok(Some(status)) = store.status_with_end(event).await {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(POLL.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

fn told(topic: &str, event: &Event, status: Option<Status>, wait: Duration) -> String {
    let (id, at) = (visible(event.session_id.as_str()), instant(event.emitted_at));
    match status {
        Some(Status::Ended) => format!("{id}: ended at {at} UTC, by an event in {topic}\n"),
        Some(status) => format!("{id}: its end at {at} UTC is in {topic} and folded; by other events it is {status}\n"),
        None => format!(
            "{id}: its end at {at} UTC is in {topic}; it was not folded within {wait:?}, and will be once an instance \
             runs and gets there\n"
        ),
    }
}

fn as_json(topic: &str, event: &Event, status: Option<Status>) -> String {
    let folded = status.is_some();
    let value = json!({"topic": topic, "event": event.to_json(), "folded": folded, "status": status});
    format!("{value}\n")
}
