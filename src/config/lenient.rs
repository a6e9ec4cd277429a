//! Keys whose value in the environment may be wrong. It is passed over then, as if the variable weren't there, and a
//! warning says so: such a key decides how closely something is looked at, and a slip in a deployment shall not keep the
//! service from starting. In a file or a flag a wrong value is an error, as for every key.

use std::{fmt, ops::RangeInclusive, time::Duration};

use super::{
    duration,
    error::{Origin, Refusal},
    health,
    layers::Layer,
    settings::Value,
};

/// The keys, with the limits of their durations.
const LENIENT: [(&str, RangeInclusive<Duration>); 2] =
    [("health.interval", health::INTERVAL), ("health.timeout", health::TIMEOUT)];

/// A value that was passed over. Never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    key: &'static str,
    refusal: Refusal,
    origin: Origin,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, refusal, origin } = self;
        write!(f, "{key}: {refusal} (from {origin}); passed over: what the file or the default says holds")
    }
}

/// Takes what can't be used out of the environment's layer; a warning tells of it unless a flag replaces it anyway.
pub(super) fn pass_over(environment: &mut Layer, flags: &Layer) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (key, limits) in LENIENT {
        let Some(entry) = environment.entries.get(key) else { continue };
        // A layer has brought the value to its key's type, which for a duration is any text.
        let Value::Text(text) = &entry.value else { continue };
        let Err(refusal) = duration::within(text, &limits) else { continue };
        if !flags.entries.contains_key(key) {
            warnings.push(Warning { key, refusal, origin: entry.origin.clone() });
        }
        environment.entries.remove(key);
    }
    warnings
}
