//! The layer of the configuration file.

use std::path::Path;

use toml::{Table, Value as Toml};

use super::client;
use super::endpoints;
use super::error::{ConfigError, Origin, Refusal};
use super::keys::Keys;
use super::layers::{Layer, Raw};

pub(super) fn layer(path: &Path, keys: &Keys) -> Result<Layer, ConfigError> {
    let origin = Origin::File(path.to_owned());
    let text =
        std::fs::read_to_string(path).map_err(|problem| ConfigError::Unreadable { origin: origin.clone(), problem })?;
    let table: Table = text.parse().map_err(|error| syntax(&text, &error, origin.clone()))?;
    layer_of(&table, keys, &origin)
}

/// The layer of a table that has been parsed.
pub(super) fn layer_of(table: &Table, keys: &Keys, origin: &Origin) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    for (name, value) in table {
        walk(&mut layer, name, value, keys, origin)?;
    }
    Ok(layer)
}

fn walk(layer: &mut Layer, name: &str, value: &Toml, keys: &Keys, origin: &Origin) -> Result<(), ConfigError> {
    // Below kafka.client a dotted key has made tables of its own: sasl.password is `password` in `sasl`. And each endpoint
    // has one.
    let is_section = keys.is_section(name);
    let known_table = is_section || name.starts_with(client::PREFIX) || name.starts_with(endpoints::PREFIX);
    match value {
        Toml::Table(inner) if known_table => {
            for (key, value) in inner {
                walk(layer, &format!("{name}.{key}"), value, keys, origin)?;
            }
            Ok(())
        }
        _ if is_section => {
            let refusal = Refusal::new("is a section, not a value", "allowed: keys below it");
            Err(ConfigError::invalid(name, refusal, origin.clone()))
        }
        Toml::Table(_) if !keys.is_value(name) => Err(unknown(name, keys, origin)),
        _ => {
            let place = keys.locate(name);
            let place = place.ok_or_else(|| unknown(name, keys, origin))?;
            layer.add(place, Raw::Toml(value), origin.clone())
        }
    }
}

fn unknown(name: &str, keys: &Keys, origin: &Origin) -> ConfigError {
    ConfigError::unknown(name, keys.nearest(name), origin.clone())
}

/// The parser's own error shows the line at fault, and with it perhaps a password. So only its message and its place.
fn syntax(text: &str, error: &toml::de::Error, origin: Origin) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    ConfigError::Syntax {
        origin,
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
        problem: error.message().replace('\n', ", "),
    }
}
