//! Whether the properties for TLS and passwords fit together. Of half a set librdkafka uses nothing, and at most logs a
//! line; what is missing shows when it connects, in words that don't name a property.

use std::collections::BTreeMap;
use std::fs;

use super::client::PREFIX;
use super::error::{ConfigError, Origin, Refusal};
use super::settings::{Entry, Settings, Value};

/// Files that librdkafka reads.
const FILES: [&str; 5] =
    ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.crl.location", "ssl.keystore.location"];

/// In place of a file: librdkafka looks in the usual places.
const PROBE: &str = "probe";

const PASSWORD_MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// It takes a token. Where tokens come from isn't built in, but for those that nobody signs, for tests.
const TOKEN_MECHANISM: &str = "OAUTHBEARER";
const UNSIGNED_TOKENS: &str = "enable.sasl.oauthbearer.unsecure.jwt";

/// What `security.protocol` asks for.
struct Protocol {
    tls: bool,
    sasl: bool,
}

/// Refuses what would be ignored, and what can't work.
pub(super) fn check(settings: &Settings) -> Result<(), ConfigError> {
    let ours = |(key, entry)| Some((str::strip_prefix(key, PREFIX)?, entry));
    let properties = Properties(settings.iter().filter_map(ours).collect());
    let protocol = properties.protocol()?;
    properties.check_that_all_are_used(&protocol)?;
    if protocol.sasl {
        properties.check_credentials()?;
    }
    properties.check_files()
}

/// Sorted, so that of several faults the same one is reported every time.
struct Properties<'a>(BTreeMap<&'a str, &'a Entry>);

impl Properties<'_> {
    fn protocol(&self) -> Result<Protocol, ConfigError> {
        const NAME: &str = "security.protocol";
        let (tls, sasl) = match self.text(NAME).map(str::to_ascii_lowercase).as_deref() {
            None | Some("plaintext") => (false, false),
            Some("ssl") => (true, false),
            Some("sasl_plaintext") => (false, true),
            Some("sasl_ssl") => (true, true),
            Some(_) => {
                let allowed = "allowed: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL";
                return Err(self.refusal(NAME, "is not a protocol", allowed));
            }
        };
        Ok(Protocol { tls, sasl })
    }

    fn check_that_all_are_used(&self, protocol: &Protocol) -> Result<(), ConfigError> {
        for name in self.0.keys() {
            if !protocol.tls && (name.starts_with("ssl.") || *name == "enable.ssl.certificate.verification") {
                let remedy = "set kafka.client.security.protocol to SSL or SASL_SSL, or leave it out";
                return Err(self.refusal(name, "has no effect without TLS", remedy));
            }
            if !protocol.sasl && name.starts_with("sasl.") {
                let remedy = "set kafka.client.security.protocol to SASL_SSL or SASL_PLAINTEXT and \
                              kafka.client.sasl.mechanism, or leave it out";
                return Err(self.refusal(name, "has no effect without SASL", remedy));
            }
        }
        Ok(())
    }

    fn check_credentials(&self) -> Result<(), ConfigError> {
        let allowed = format!("allowed: {}", PASSWORD_MECHANISMS.join(", "));
        let (name, mechanism) = match (self.text("sasl.mechanism"), self.text("sasl.mechanisms")) {
            (Some(mechanism), None) => ("sasl.mechanism", mechanism),
            (None, Some(mechanism)) => ("sasl.mechanisms", mechanism),
            // Which of the two won would depend on the alphabet, not on the layers.
            (Some(_), Some(_)) => {
                let problem = "is another name of kafka.client.sasl.mechanism, which is set too";
                return Err(self.refusal("sasl.mechanisms", problem, "allowed: one of them"));
            }
            (None, None) => {
                let problem = "asks for SASL, and kafka.client.sasl.mechanism is not set";
                return Err(self.refusal("security.protocol", problem, allowed));
            }
        };
        if mechanism == TOKEN_MECHANISM {
            if self.text(UNSIGNED_TOKENS) == Some("true") {
                return Ok(());
            }
            let problem = "needs a token, and no provider of tokens is built in";
            return Err(self.refusal(name, problem, allowed));
        }
        if !PASSWORD_MECHANISMS.contains(&mechanism) {
            return Err(self.refusal(name, "is not a mechanism that is built in", allowed));
        }
        match ["sasl.username", "sasl.password"].into_iter().find(|needed| self.is_empty(needed)) {
            None => Ok(()),
            Some(needed) => {
                let remedy = "allowed: both kafka.client.sasl.username and kafka.client.sasl.password (or \
                              kafka.client.sasl.password_file)";
                Err(self.refusal(name, format!("needs kafka.client.{needed}, which is not set"), remedy))
            }
        }
    }

    /// The paths aren't shown: somebody may put the key itself there.
    fn check_files(&self) -> Result<(), ConfigError> {
        for name in FILES {
            if let Some(path) = self.text(name).filter(|path| *path != PROBE)
                && let Err(error) = fs::metadata(path)
            {
                let remedy = "allowed: the path of a readable file, from the working directory if it is relative";
                return Err(self.refusal(name, format!("names a file that cannot be read: {error}"), remedy));
            }
        }
        Ok(())
    }

    fn text(&self, name: &str) -> Option<&str> {
        match &self.0.get(name)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn is_empty(&self, name: &str) -> bool {
        match self.0.get(name).map(|entry| &entry.value) {
            Some(Value::Text(text)) => text.is_empty(),
            Some(Value::Secret(secret)) => secret.expose().is_empty(),
            _ => true,
        }
    }

    fn refusal(&self, name: &str, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
        let origin = self.0.get(name).map_or(Origin::Default, |entry| entry.origin.clone());
        ConfigError::invalid(&format!("{PREFIX}{name}"), Refusal::new(problem, remedy), origin)
    }
}
