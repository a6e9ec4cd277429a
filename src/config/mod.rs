//! One typed configuration out of four layers: defaults, a TOML file, the environment, flags.
//!
//! Each layer is read into (key, value, origin), the later replacing the earlier key by key; only then are the values
//! that won turned into types. So an error always names the layer that gave the bad value, and a value that lost
//! cannot fail. `config/default.toml` is the one list of keys, types and defaults.

mod client;
mod duration;
mod endpoint_url;
mod endpoints;
mod environment;
mod error;
mod file;
mod flags;
mod health;
mod http;
mod kafka;
mod kafka_security;
mod keys;
mod layers;
mod lenient;
mod mcp;
mod outbox;
mod postgres;
mod render;
mod schema;
mod secret;
mod secrets;
mod sections;
mod settings;
mod supervisor;
#[cfg(test)]
mod tests;
mod traces;

use std::path::PathBuf;

pub use client::ClientValue;
pub(crate) use client::property_problem;
pub use duration::parse as parse_duration;
pub use endpoint_url::EndpointUrl;
pub use endpoints::{Authorization, EndpointConfig, EndpointKind, EndpointName};
pub use error::{ConfigError, Origin, Refusal};
pub use health::HealthConfig;
pub use http::HttpConfig;
pub use kafka::KafkaConfig;
pub use lenient::Warning;
pub use mcp::McpConfig;
pub use outbox::{Acks, OutboxConfig};
pub use postgres::PostgresUrl;
pub use schema::SchemaName;
pub use secret::Secret;
pub use secrets::Secrets;
pub use sections::{
    AggregatorConfig, AggregatorKind, BatchConfig, BreakerConfig, EventsConfig, LogConfig, LogFormat, PostgresConfig,
    RetentionConfig, ShutdownConfig, SweepConfig,
};
pub use supervisor::SupervisorConfig;
pub use traces::{CollectorHeader, Share, TracesConfig};

/// The effective configuration. Every value in it has passed its rule.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[kafka]`
    pub kafka: KafkaConfig,
    /// `[postgres]`
    pub postgres: PostgresConfig,
    /// `[breaker]`
    pub breaker: BreakerConfig,
    /// `[aggregator]`
    pub aggregator: AggregatorConfig,
    /// `[sweep]`
    pub sweep: SweepConfig,
    /// `[retention]`
    pub retention: RetentionConfig,
    /// `[outbox]`
    pub outbox: OutboxConfig,
    /// `[events]`
    pub events: EventsConfig,
    /// `[batch]`
    pub batch: BatchConfig,
    /// `[http]`
    pub http: HttpConfig,
    /// `[mcp]`
    pub mcp: McpConfig,
    /// `[health]`
    pub health: HealthConfig,
    /// `[traces]`
    pub traces: TracesConfig,
    /// `[supervisor]`
    pub supervisor: SupervisorConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[shutdown]`
    pub shutdown: ShutdownConfig,
    rendered: String,
    warnings: Vec<Warning>,
}

/// Where the configuration comes from, beside the defaults.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file of `--config`. Without it, `SESSIONFOLD_CONFIG` in `environment` names the file.
    pub file: Option<PathBuf>,
    /// Environment variables, handed in so that a test needs no global state. Those of others are passed over.
    pub environment: Vec<(String, String)>,
    /// The values of `--set`, each `section.key=value`.
    pub flags: Vec<String>,
}

impl Sources {
    /// The sources of this process: the variables it was started with, and what its command line says.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<String>) -> Result<Self, ConfigError> {
        let environment = environment::of_process()?;
        Ok(Self { file, environment, flags })
    }
}

impl Config {
    /// Reads all layers and checks every value. The first thing that is wrong is the error.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let (keys, mut settings) = layers::defaults();
        let path = sources.file.or_else(|| environment::config_path(&sources.environment));
        if let Some(path) = path {
            settings.overlay(file::layer(&path, &keys)?);
        }
        let mut environment = environment::layer(&sources.environment, &keys)?;
        let flags = flags::layer(&sources.flags, &keys)?;
        let warnings = lenient::pass_over(&mut environment, &flags);
        settings.overlay(environment);
        settings.overlay(flags);
        settings.read_secret_files()?;
        let rendered = render::render(&settings);
        Self::typed(settings, rendered, warnings)
    }

    fn typed(mut settings: settings::Settings, rendered: String, warnings: Vec<Warning>) -> Result<Self, ConfigError> {
        let kafka = KafkaConfig::read(&mut settings)?;
        let config = Self {
            outbox: OutboxConfig::read(&mut settings, &kafka.topics)?,
            kafka,
            postgres: PostgresConfig::read(&mut settings)?,
            breaker: BreakerConfig::read(&mut settings)?,
            aggregator: AggregatorConfig::read(&mut settings)?,
            sweep: SweepConfig::read(&mut settings)?,
            retention: RetentionConfig::read(&mut settings)?,
            events: EventsConfig::read(&mut settings)?,
            batch: BatchConfig::read(&mut settings)?,
            http: HttpConfig::read(&mut settings)?,
            mcp: McpConfig::read(&mut settings)?,
            health: HealthConfig::read(&mut settings)?,
            traces: TracesConfig::read(&mut settings)?,
            supervisor: SupervisorConfig::read(&mut settings)?,
            log: LogConfig::read(&mut settings)?,
            shutdown: ShutdownConfig::read(&mut settings)?,
            rendered,
            warnings,
        };
        // A key that stands in default.toml and that no section reads would be accepted and do nothing.
        debug_assert!(settings.is_empty(), "keys that no section reads");
        Ok(config)
    }

    /// The configuration that was loaded, as TOML, secrets masked. A value that isn't the default has its origin beside
    /// it. Made at load, so a field changed since doesn't show.
    pub fn render(&self) -> String {
        self.rendered.clone()
    }

    /// What was passed over when it was loaded, for somebody to read.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// All secrets in it.
    pub fn secrets(&self) -> Secrets {
        Secrets::of(self)
    }
}
