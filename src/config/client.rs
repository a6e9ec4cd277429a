//! Properties for librdkafka: which are secret, which belong to the program, which it has.

use std::fmt;

use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaConfRes};

use super::error::{ConfigError, Refusal};
use super::secret::Secret;
use super::settings::{Settings, Value};

/// What a property's key begins with.
pub(super) const PREFIX: &str = "kafka.client.";

/// Secret ones whose name doesn't say so.
const SECRETS: [&str; 3] = ["ssl.key.pem", "sasl.oauthbearer.assertion.private.key.pem", "sasl.oauthbearer.config"];

/// A part of the name that makes a property a secret. Wider than librdkafka's list of today: a star too many costs less
/// than a password in a log.
const SECRET_WORDS: [&str; 4] = ["password", "passphrase", "secret", "token"];

const SET_BY: &str = "is set by the program";
const OFFSETS: &str = "would let Kafka decide where reading starts or ends";
const CHECKPOINTS: &str = "leave it out: the checkpoints in Postgres decide where reading starts and what is done";

/// Properties on which the program's guarantees rest, or that act as soon as they are read: name, why not, what instead.
/// Old names of the same too.
const OWNED: [(&str, &str, &str); 13] = [
    ("bootstrap.servers", SET_BY, "use kafka.brokers"),
    ("metadata.broker.list", SET_BY, "use kafka.brokers"),
    ("group.id", SET_BY, "use kafka.group_id"),
    ("enable.auto.commit", OFFSETS, CHECKPOINTS),
    ("auto.commit.enable", OFFSETS, CHECKPOINTS),
    ("enable.auto.offset.store", OFFSETS, CHECKPOINTS),
    ("auto.offset.reset", OFFSETS, CHECKPOINTS),
    ("enable.partition.eof", SET_BY, "leave it out: a partition that is at its end is waited for by nobody"),
    ("acks", SET_BY, "use outbox.acks"),
    ("request.required.acks", SET_BY, "use outbox.acks"),
    ("enable.idempotence", SET_BY, "use outbox.acks: it is on with \"all\""),
    ("plugin.library.paths", "would load a library as soon as it is read", "leave it out"),
    ("statistics.interval.ms", SET_BY, "leave it out: the end of a drain and the lag are taken from the statistics"),
];

/// The value of a property. Passed on as text, whatever it means.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientValue {
    /// One that may be printed.
    Plain(String),
    /// One that may not.
    Secret(Secret),
}

impl ClientValue {
    /// The text for librdkafka, secret or not.
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

impl fmt::Debug for ClientValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => fmt::Debug::fmt(text, f),
            Self::Secret(secret) => fmt::Debug::fmt(secret, f),
        }
    }
}

pub(super) fn is_secret(property: &str) -> bool {
    let secret_word = |part| SECRET_WORDS.contains(&part);
    SECRETS.contains(&property) || property.split('.').any(secret_word)
}

/// Refuses what can't be a property's name, and what isn't the user's to set. Whether librdkafka has the rest is for
/// [`check_values`] to find out.
pub(super) fn check(property: &str) -> Result<(), Refusal> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let whole = |part: &str| !part.is_empty() && part.chars().all(letter);
    if !property.split('.').all(whole) {
        return Err(Refusal::new(
            "is not the name of a librdkafka property",
            "allowed: lower-case words with dots between them, like security.protocol",
        ));
    }
    match OWNED.iter().find(|(name, ..)| *name == property) {
        Some((_, problem, remedy)) => Err(Refusal::new(*problem, *remedy)),
        None => Ok(()),
    }
}

/// Asks librdkafka whether it has each of these properties and takes its value. It starts nothing by that.
pub(super) fn check_values(settings: &Settings) -> Result<(), ConfigError> {
    for (key, entry) in settings.iter() {
        let Some(property) = key.strip_prefix(PREFIX) else { continue };
        let value = match &entry.value {
            Value::Text(text) => text,
            Value::Secret(secret) => secret.expose(),
            _ => continue,
        };
        let asked = ClientConfig::new().set(property, value).create_native_config();
        asked.map_err(|error| ConfigError::invalid(key, refusal(&error), entry.origin.clone()))?;
    }
    Ok(())
}

/// librdkafka's own words aren't kept, since they quote the value, which may be a secret.
fn refusal(error: &KafkaError) -> Refusal {
    let problem = match error {
        KafkaError::ClientConfig(result, ..) => property_problem(*result),
        _ => REFUSED,
    };
    Refusal::new(problem, "allowed: what librdkafka's CONFIGURATION.md lists")
}

const REFUSED: &str = "librdkafka refuses its value, or was built without it";

/// What is wrong with a property that librdkafka doesn't take.
pub(crate) fn property_problem(result: RDKafkaConfRes) -> &'static str {
    match result {
        RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => "librdkafka has no such property",
        _ => REFUSED,
    }
}

/// The property that the end of a variable's name stands for, with `_file` at its end when it names a secret's file.
pub(super) fn property_of(variable: &str) -> String {
    match variable.strip_suffix("_FILE") {
        // Only then: sasl.oauthbearer.assertion.private.key.file is a property of its own.
        Some(stem) if is_secret(&dotted(stem)) => format!("{}_file", dotted(stem)),
        _ => dotted(variable),
    }
}

fn dotted(variable: &str) -> String {
    let property = variable.replace("__", ".").replace('_', ".");
    match property.to_ascii_lowercase() {
        // librdkafka's only property with an underscore that is of use here.
        property if property == "log.level" => "log_level".to_owned(),
        property => property,
    }
}
