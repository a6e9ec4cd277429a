//! A layer: what one source says about some keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::{Table, Value as Toml};

use super::client;
use super::error::{ConfigError, Origin, Refusal};
use super::file;
use super::keys::{Keys, Kind, Place};
use super::settings::{Entry, Settings, Value};

/// The defaults, which are also the list of keys and types.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// A value as its source has it.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    Toml(&'a Toml),
    Text(&'a str),
}

/// What one source says.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Layer {
    /// Takes in one written key with its value. The caller knows that it isn't a section.
    pub(super) fn add(&mut self, place: Place, raw: Raw<'_>, origin: Origin) -> Result<(), ConfigError> {
        let value = value(&place, raw);
        let value = value.map_err(|why| ConfigError::invalid(&place.key, why, origin.clone()))?;
        if let Some(earlier) = self.entries.get(&place.key) {
            let why = if earlier.value.is_file() != value.is_file() {
                Some("is given both as value and as file")
            } else if origin != Origin::Flag {
                // In the environment: SASL_PASSWORD and SASL__PASSWORD. In TOML: a dotted key and a quoted one.
                Some("is given twice")
            } else {
                // Of two equal flags the later wins, as everywhere on command lines.
                None
            };
            if let Some(why) = why {
                let refusal = Refusal::new(why, "allowed: one of them in one layer");
                return Err(ConfigError::invalid(&place.key, refusal, origin));
            }
        }
        self.entries.insert(place.key, Entry { value, origin });
        Ok(())
    }
}

fn value(place: &Place, raw: Raw<'_>) -> Result<Value, Refusal> {
    if let Some(property) = place.key.strip_prefix(client::PREFIX) {
        client::check(property)?;
    }
    let value = match raw {
        Raw::Toml(value) => place.kind.of_toml(value)?,
        Raw::Text(text) => place.kind.of_text(text)?,
    };
    match value {
        // The path goes through the same type check as the secret itself would.
        Value::Secret(path) if place.in_file && place.kind == Kind::Secret => {
            Ok(Value::SecretFile(PathBuf::from(path.expose())))
        }
        value => Ok(value),
    }
}

/// The lowest layer, and the keys that it defines.
pub(super) fn defaults() -> (Keys, Settings) {
    // Both can fail only for a fault in default.toml, which is compiled in; every test that loads would fail.
    #[expect(clippy::expect_used, reason = "default.toml is a part of the program, and tests read it")]
    let table: Table = DEFAULTS.parse().expect("default.toml is TOML");
    let keys = Keys::of(&table);
    #[expect(clippy::expect_used, reason = "default.toml is a part of the program, and tests read it")]
    let layer = file::layer_of(&table, &keys, &Origin::Default).expect("default.toml keeps its own types");
    let mut settings = Settings::default();
    settings.overlay(layer);
    (keys, settings)
}
