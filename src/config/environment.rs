//! The layer of environment variables: `SESSIONFOLD_SECTION__KEY`.

use std::path::PathBuf;

use super::client;
use super::error::{ConfigError, Origin};
use super::keys::Keys;
use super::layers::{Layer, Raw};

const PREFIX: &str = "SESSIONFOLD_";
const CLIENT: &str = "SESSIONFOLD_KAFKA__CLIENT__";
const CONFIG: &str = "SESSIONFOLD_CONFIG";
/// Variables of the project's own tools and tests.
const NOT_OURS: [&str; 2] = ["SESSIONFOLD_DEV_", "SESSIONFOLD_TEST_"];

/// This process's variables that are for us.
pub(super) fn of_process() -> Result<Vec<(String, String)>, ConfigError> {
    let mut found = Vec::new();
    // Not `vars()`, which panics when some variable of somebody else's isn't UTF-8.
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| is_ours(name) || *name == CONFIG) else {
            continue;
        };
        let value =
            value.into_string().map_err(|_| ConfigError::NotText { origin: Origin::Environment(name.to_owned()) })?;
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

/// The configuration file that the environment names.
pub(super) fn config_path(variables: &[(String, String)]) -> Option<PathBuf> {
    let (_, path) = variables.iter().find(|(name, _)| name == CONFIG)?;
    (!path.is_empty()).then(|| PathBuf::from(path))
}

pub(super) fn layer(variables: &[(String, String)], keys: &Keys) -> Result<Layer, ConfigError> {
    // Sorted, so that of several faults the same one is reported every time.
    let mut ours: Vec<_> = variables.iter().filter(|(name, _)| is_ours(name)).collect();
    ours.sort();
    let mut layer = Layer::default();
    for (name, value) in ours {
        let origin = Origin::Environment(name.clone());
        let key = key_of(name);
        if let Some(place) = keys.locate(&key).filter(|_| variable_fits(name, &key)) {
            layer.add(place, Raw::Text(value), origin)?;
        } else if let Some(hint) = nearest(name, &key, keys) {
            return Err(ConfigError::unknown(&key, Some(hint), origin));
        } else if name.contains("__") {
            return Err(ConfigError::unknown(&key, None, origin));
        }
    }
    Ok(layer)
}

fn is_ours(name: &str) -> bool {
    let tools = NOT_OURS.iter().any(|prefix| name.starts_with(prefix));
    name.starts_with(PREFIX) && name != CONFIG && !tools
}

/// The dotted key that a variable's name stands for.
fn key_of(name: &str) -> String {
    if let Some(property) = name.strip_prefix(CLIENT) {
        return format!("{}{}", client::PREFIX, client::property_of(property));
    }
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    rest.replace("__", ".").to_ascii_lowercase()
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// Refuses other spellings of the same key, such as lower case, which would otherwise be a second way to set it.
fn variable_fits(name: &str, key: &str) -> bool {
    name.starts_with(CLIENT) || name == variable(key)
}

/// What the variable was probably meant to be. Without `__` only a name that differs in nothing else counts: in
/// Kubernetes a service of our name puts variables like `SESSIONFOLD_PORT` into every container.
fn nearest(name: &str, key: &str, keys: &Keys) -> Option<String> {
    let flat = |name: &str| name.replace("__", "_").to_ascii_uppercase();
    let same = |known: &String| flat(known) == flat(name);
    if let Some(known) = keys.names().map(|key| variable(&key)).find(same) {
        return Some(known);
    }
    if !name.contains("__") {
        return None;
    }
    if flat(name).starts_with(&flat(CLIENT)) {
        return Some(format!("{CLIENT}…"));
    }
    keys.nearest(key).map(|known| variable(&known))
}
