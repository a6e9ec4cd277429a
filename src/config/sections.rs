//! The typed sections but `[kafka]`, and the rule of each key.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use super::duration::{self, LONGEST};
use super::error::{ConfigError, Refusal, quoted};
use super::postgres::PostgresUrl;
use super::schema::SchemaName;
use super::settings::{Settings, count};

/// The shortest duration that can be written and isn't zero.
const SHORTEST: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The kinds that make a session; to ignore one would make every session wrong.
const FOLDED_KINDS: [&str; 4] =
    ["hook.session.started", "hook.session.ended", "hook.prompt.submitted", "hook.tool.executed"];

/// `[postgres]`: where the result is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// Parsed, and printed with its password masked.
    pub url: PostgresUrl,
    /// The schema of all tables.
    pub schema: SchemaName,
    /// Whether `run` applies migrations when it starts.
    pub migrate: bool,
    /// 1 to 100.
    pub max_connections: NonZeroU32,
    /// More than zero, at most a day.
    pub statement_timeout: Duration,
    /// More than zero, at most ten minutes.
    pub connect_timeout: Duration,
}

impl PostgresConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        let day = Duration::from_secs(24 * 3_600);
        let ten_minutes = Duration::from_secs(600);
        Ok(Self {
            url: settings.secret("postgres.url", PostgresUrl::try_from)?,
            schema: settings.text("postgres.schema", SchemaName::try_from)?,
            migrate: settings.boolean("postgres.migrate")?,
            max_connections: settings.count("postgres.max_connections", 1..=100)?,
            statement_timeout: settings.duration("postgres.statement_timeout", SHORTEST..=day)?,
            connect_timeout: settings.duration("postgres.connect_timeout", SHORTEST..=ten_minutes)?,
        })
    }

    /// What the driver connects with. The timeouts aren't in it: how they are set is the store's affair. Don't print it:
    /// its `Debug` shows the password.
    pub fn connect_options(&self) -> PgConnectOptions {
        let options = self.url.options().clone();
        match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("sessionfold"),
        }
    }
}

/// `[breaker]`: when Postgres is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerConfig {
    /// 1 to 1000.
    pub failure_threshold: NonZeroU32,
    /// More than zero, at most ten minutes.
    pub open_for: Duration,
    /// 1 to `failure_threshold`: it isn't harder to close than to open.
    pub half_open_successes: NonZeroU32,
}

impl BreakerConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        let failure_threshold: NonZeroU32 = settings.count("breaker.failure_threshold", 1..=1_000)?;
        Ok(Self {
            failure_threshold,
            open_for: settings.duration("breaker.open_for", SHORTEST..=10 * MINUTE)?,
            half_open_successes: settings.take("breaker.half_open_successes", |value| {
                let successes: NonZeroU32 = count(value, 1..=1_000)?;
                if successes <= failure_threshold {
                    return Ok(successes);
                }
                // The other key may be the one that was set.
                let problem =
                    format!("{successes} is more than breaker.failure_threshold, which is {failure_threshold}");
                Err(Refusal::new(problem, format!("allowed: 1 to {failure_threshold}, or a greater threshold")))
            })?,
        })
    }
}

/// How events become sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregatorKind {
    /// Any order of the same events gives the same session.
    Convergent,
    /// In the order of arrival, as the system before did.
    Reference,
}

impl std::fmt::Display for AggregatorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AggregatorKind::Convergent => "convergent",
            AggregatorKind::Reference => "reference",
        })
    }
}

fn aggregator_kind(text: String) -> Result<AggregatorKind, Refusal> {
    match text.as_str() {
        "convergent" => Ok(AggregatorKind::Convergent),
        "reference" => Ok(AggregatorKind::Reference),
        other => {
            let allowed = "allowed: \"convergent\", \"reference\"";
            Err(Refusal::new(format!("{} is not an aggregator", quoted(other)), allowed))
        }
    }
}

/// `[aggregator]`: the rules of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregatorConfig {
    /// Which one.
    pub kind: AggregatorKind,
    /// More than zero.
    pub inactivity_timeout: Duration,
    /// May be zero.
    pub reopen_grace: Duration,
    /// May be zero.
    pub future_tolerance: Duration,
    /// Whether events that the aggregator rejects are kept as dead letters.
    pub keep_rejected: bool,
}

impl AggregatorConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        let any = Duration::ZERO..=LONGEST;
        Ok(Self {
            kind: settings.text("aggregator.kind", aggregator_kind)?,
            inactivity_timeout: settings.duration("aggregator.inactivity_timeout", SHORTEST..=LONGEST)?,
            reopen_grace: settings.duration("aggregator.reopen_grace", any.clone())?,
            future_tolerance: settings.duration("aggregator.future_tolerance", any)?,
            keep_rejected: settings.boolean("aggregator.keep_rejected")?,
        })
    }
}

/// `[sweep]`: how silent sessions are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepConfig {
    /// More than zero, at most an hour.
    pub interval: Duration,
    /// In one transaction, 1 to 100,000.
    pub max_sessions: NonZeroU32,
}

impl SweepConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            interval: settings.duration("sweep.interval", SHORTEST..=MINUTE * 60)?,
            max_sessions: settings.count("sweep.max_sessions", 1..=100_000)?,
        })
    }
}

/// `[retention]`: what is deleted by age. `None` is kept for ever; an age is more than zero, at most ten years.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// By the last event.
    pub sessions: Option<Duration>,
    /// Redriven and discarded ones, by when they were set aside.
    pub dead_letters: Option<Duration>,
    /// The same for open ones.
    pub open_dead_letters: Option<Duration>,
    /// By when they were published.
    pub transitions: Option<Duration>,
    /// More than zero, at most a day.
    pub interval: Duration,
    /// In one transaction, 1 to 10,000.
    pub batch: NonZeroU32,
}

impl RetentionConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            sessions: settings.text("retention.sessions", age)?,
            dead_letters: settings.text("retention.dead_letters", age)?,
            open_dead_letters: settings.text("retention.open_dead_letters", age)?,
            transitions: settings.text("retention.transitions", age)?,
            interval: settings.duration("retention.interval", SHORTEST..=MINUTE * 60 * 24)?,
            batch: settings.count("retention.batch", 1..=10_000)?,
        })
    }
}

/// How old rows may grow.
fn age(text: String) -> Result<Option<Duration>, Refusal> {
    if text == "forever" {
        return Ok(None);
    }
    let age = duration::parse(&text)?;
    if (SHORTEST..=LONGEST).contains(&age) {
        return Ok(Some(age));
    }
    let (least, most) = (duration::shown(SHORTEST), duration::shown(LONGEST));
    Err(Refusal::new(format!("{} is out of range", quoted(&text)), format!("allowed: \"forever\", {least} to {most}")))
}

/// `[events]`: what is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsConfig {
    /// 1 byte to 100 MiB.
    pub max_value_bytes: NonZeroUsize,
    /// Kinds that are counted and skipped; none of those that make a session.
    pub ignore: BTreeSet<String>,
}

impl EventsConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            max_value_bytes: settings.count("events.max_value_bytes", 1..=100 << 20)?,
            ignore: settings.list("events.ignore", ignored)?,
        })
    }
}

fn ignored(kinds: Vec<String>) -> Result<BTreeSet<String>, Refusal> {
    match kinds.iter().find(|kind| FOLDED_KINDS.contains(&kind.as_str())) {
        None => Ok(kinds.into_iter().collect()),
        Some(kind) => Err(Refusal::new(
            format!("{} makes sessions and cannot be ignored", quoted(kind)),
            format!("allowed: any kind but {}", FOLDED_KINDS.join(", ")),
        )),
    }
}

/// `[batch]`: how much goes into one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchConfig {
    /// 1 to a million.
    pub max_events: NonZeroUsize,
    /// More than zero, at most a minute.
    pub max_wait: Duration,
    /// Bytes of records, at least 1024.
    pub max_bytes: NonZeroUsize,
    /// Of the whole group, 1 to 256.
    pub lanes: NonZeroUsize,
}

impl BatchConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            max_events: settings.count("batch.max_events", 1..=1_000_000)?,
            max_wait: settings.duration("batch.max_wait", SHORTEST..=MINUTE)?,
            max_bytes: settings.count("batch.max_bytes", 1_024..=i64::MAX)?,
            lanes: settings.count("batch.lanes", 1..=256)?,
        })
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// `[log]`: what is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// A filter in tracing's syntax. Not empty; the rest is checked where the filter is built.
    pub filter: String,
}

impl LogConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        let format = |text: String| match text.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(Refusal::new(format!("{} is not a format", quoted(other)), "allowed: \"text\", \"json\"")),
        };
        Ok(Self { format: settings.text("log.format", format)?, filter: settings.text("log.filter", not_empty)? })
    }
}

/// `[shutdown]`: how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// More than zero, at most a minute.
    pub timeout: Duration,
}

impl ShutdownConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        Ok(Self { timeout: settings.duration("shutdown.timeout", SHORTEST..=MINUTE)? })
    }
}

/// The rule of texts that mean something only when there is one.
pub(super) fn not_empty(text: String) -> Result<String, Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::new("is empty", "allowed: a text that isn't empty"));
    }
    Ok(text)
}
