//! What all clients of Kafka here have in common: their settings, and where librdkafka's words go.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::config::KafkaConfig;

/// Where the brokers are and who asks, with the user's own properties. Settings on which a guarantee rests are set over
/// these; mere preferences with [`preferring`].
pub(crate) fn base(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("client.id", "sessionfold");
    // librdkafka would add to histograms for the brokers all the time. The service has its own figures.
    client.set("enable.metrics.push", "false");
    for (property, value) in &config.client {
        client.set(property, value.expose());
    }
    client.set("bootstrap.servers", &config.brokers);
    client
}

/// The same with properties that hold unless the user has others.
pub(crate) fn preferring(config: &KafkaConfig, preferred: &[(&str, &str)]) -> ClientConfig {
    let mut client = base(config);
    for (property, value) in preferred {
        if client.get(property).is_none() {
            client.set(*property, *value);
        }
    }
    client
}

/// librdkafka's default.
const MESSAGE_MAX_BYTES: u32 = 1_000_000;

/// The same for a consumer.
pub(crate) fn consumer(config: &KafkaConfig, preferred: &[(&str, &str)]) -> ClientConfig {
    let mut client = preferring(config, preferred);
    // `message.max.bytes` is about what is sent, and librdkafka still refuses a smaller `fetch.max.bytes` that was set.
    if let Some(fetched) = client.get("fetch.max.bytes").and_then(|bytes| bytes.parse::<u32>().ok()) {
        client.set("message.max.bytes", fetched.min(MESSAGE_MAX_BYTES).to_string());
    }
    client
}

/// The same error is said once in this time: a broker that is away fails several times a second.
const QUIET: Duration = Duration::from_secs(10);

/// Routes librdkafka's log lines to `tracing` under the target `librdkafka`, and its global errors as warnings.
///
/// Its lines stand at `debug` whatever librdkafka calls them, unless they are critical: it logs each attempt to reach a
/// broker as an error, and what matters of these comes as a global error as well.
#[derive(Debug, Default)]
pub struct LogToTracing {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said: Vec<(RDKafkaErrorCode, Instant)>,
    last_error: Option<String>,
}

impl State {
    /// Whether an error is to be said now, which then counts as said.
    fn may_say(&mut self, code: RDKafkaErrorCode, now: Instant) -> bool {
        match self.said.iter_mut().find(|(said, _)| *said == code) {
            Some((_, at)) if now.duration_since(*at) < QUIET => return false,
            Some((_, at)) => *at = now,
            None => self.said.push((code, now)),
        }
        true
    }
}

impl LogToTracing {
    /// What librdkafka said last that told of a cause. "All brokers are down" tells of none.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.state().last_error.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for LogToTracing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if code == RDKafkaErrorCode::PartitionEOF {
            return; // librdkafka calls it an error; who asked for it gets it from poll
        }
        let mut state = self.state();
        if code != RDKafkaErrorCode::AllBrokersDown {
            state.last_error = Some(reason.to_owned());
        }
        if state.may_say(code, Instant::now()) {
            tracing::warn!(target: "librdkafka", %code, "{reason}");
        }
    }
}

impl ConsumerContext for LogToTracing {}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn a_consumer_may_fetch_less_at_once_than_may_be_sent_at_once() {
        let flags = ["kafka.client.fetch.max.bytes=100000", "kafka.client.message.max.bytes=16000000"];
        let flags = flags.map(str::to_owned).to_vec();
        let kafka = Config::load(Sources { flags, ..Sources::default() }).unwrap().kafka;
        let mut settings = consumer(&kafka, &[("fetch.max.bytes", "200000")]);
        settings.set("group.id", "g");
        assert!(settings.create_with_context::<_, BaseConsumer<LogToTracing>>(LogToTracing::default()).is_ok());
        assert_eq!(settings.get("fetch.max.bytes"), Some("100000"), "the user's");
    }

    #[test]
    fn each_error_is_said_once_in_ten_seconds() {
        let mut state = State::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(state.may_say(RDKafkaErrorCode::BrokerTransportFailure, start));
        assert!(!state.may_say(RDKafkaErrorCode::BrokerTransportFailure, after(9)));
        assert!(state.may_say(RDKafkaErrorCode::AllBrokersDown, after(9)));
        assert!(state.may_say(RDKafkaErrorCode::BrokerTransportFailure, after(10)));
        assert!(!state.may_say(RDKafkaErrorCode::BrokerTransportFailure, after(11)));
    }
}
