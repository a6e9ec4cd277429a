//! `[outbox]`: where changes of sessions' status are published.

use std::{fmt, num::NonZeroU32, time::Duration};

use super::{
    error::{ConfigError, Refusal, quoted},
    kafka::check_topic,
    settings::Settings,
};

/// When a transition counts as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// All in-sync replicas have it. The producer is idempotent.
    All,
    /// The partition's leader has it.
    Leader,
    /// It was handed to the network.
    None,
}

impl Acks {
    /// As librdkafka's `acks`.
    pub fn as_str(self) -> &'static str {
        match self {
            Acks::All => "all",
            Acks::Leader => "1",
            Acks::None => "0",
        }
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `[outbox]`: what is published, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxConfig {
    /// `None` is off. None of those that are read.
    pub topic: Option<String>,
    pub acks: Acks,
    /// More than zero, at most an hour.
    pub interval: Duration,
    /// Rows a round, 1 to 10,000.
    pub batch: NonZeroU32,
    /// 1 to 1000.
    pub max_attempts: NonZeroU32,
}

impl OutboxConfig {
    pub(super) fn read(settings: &mut Settings, read: &[String]) -> Result<Self, ConfigError> {
        let hour = Duration::from_secs(3_600);
        Ok(Self {
            topic: settings.text("outbox.topic", |name| topic(name, read))?,
            acks: settings.text("outbox.acks", |text| acks(&text))?,
            interval: settings.duration("outbox.interval", Duration::from_millis(1)..=hour)?,
            batch: settings.count("outbox.batch", 1..=10_000)?,
            max_attempts: settings.count("outbox.max_attempts", 1..=1_000)?,
        })
    }
}

fn topic(name: String, read: &[String]) -> Result<Option<String>, Refusal> {
    if name.is_empty() {
        return Ok(None);
    }
    check_topic(&name)?;
    if read.contains(&name) {
        let problem = format!("{} is one of kafka.topics, which are read", quoted(&name));
        return Err(Refusal::new(problem, "allowed: a topic of its own, or \"\" for off"));
    }
    Ok(Some(name))
}

fn acks(text: &str) -> Result<Acks, Refusal> {
    let found = [Acks::All, Acks::Leader, Acks::None].into_iter().find(|acks| acks.as_str() == text);
    let refusal = || Refusal::new(format!("{} is not allowed", quoted(text)), "allowed: \"all\", \"1\", \"0\"");
    found.ok_or_else(refusal)
}
