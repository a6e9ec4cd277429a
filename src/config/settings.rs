//! The merged layers: for each key the value that won, and where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroI64;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client;
use super::duration;
use super::error::{ConfigError, Origin, Refusal, quoted};
use super::layers::Layer;
use super::secret::Secret;

/// A value of the type that its key has in `default.toml`.
pub(super) enum Value {
    Integer(i64),
    /// Perhaps none of a number's, such as NaN.
    Number(f64),
    Boolean(bool),
    Text(String),
    List(Vec<String>),
    Secret(Secret),
    /// A secret that still lies in its file.
    SecretFile(PathBuf),
}

impl Value {
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::SecretFile(_))
    }
}

pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Reading a setting takes it out, so that what is left at the end is what nobody reads.
#[derive(Default)]
pub(super) struct Settings {
    entries: BTreeMap<String, Entry>,
}

impl Settings {
    /// Puts a layer over what is there; its values win.
    pub(super) fn overlay(&mut self, layer: Layer) {
        self.entries.extend(layer.entries);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads the secrets that lie in files. After merging, so that a file nobody needs may be missing.
    pub(super) fn read_secret_files(&mut self) -> Result<(), ConfigError> {
        for (key, entry) in &mut self.entries {
            if let Value::SecretFile(path) = &entry.value {
                let secret = read_secret(path);
                let secret = secret.map_err(|why| ConfigError::invalid(key, why, entry.origin.clone()))?;
                entry.value = Value::Secret(secret);
            }
        }
        Ok(())
    }

    /// Takes a setting and turns it into what it means; a refusal gets the key and the layer.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        meaning: impl FnOnce(Value) -> Result<T, Refusal>,
    ) -> Result<T, ConfigError> {
        // Only a key that default.toml lacks could fail here, and then every test that loads does.
        #[expect(clippy::expect_used, reason = "default.toml is a part of the program, and tests read it")]
        let entry = self.entries.remove(key).expect("default.toml has every key");
        meaning(entry.value).map_err(|why| ConfigError::invalid(key, why, entry.origin))
    }

    pub(super) fn text<T>(
        &mut self,
        key: &str,
        meaning: impl FnOnce(String) -> Result<T, Refusal>,
    ) -> Result<T, ConfigError> {
        self.take(key, |value| match value {
            Value::Text(text) => meaning(text),
            _ => Err(other_type()),
        })
    }

    pub(super) fn secret<T>(
        &mut self,
        key: &str,
        meaning: impl FnOnce(Secret) -> Result<T, Refusal>,
    ) -> Result<T, ConfigError> {
        self.take(key, |value| match value {
            Value::Secret(secret) => meaning(secret),
            _ => Err(other_type()),
        })
    }

    pub(super) fn boolean(&mut self, key: &str) -> Result<bool, ConfigError> {
        self.take(key, |value| match value {
            Value::Boolean(flag) => Ok(flag),
            _ => Err(other_type()),
        })
    }

    /// A whole number within limits, of which the lower is at least 1.
    pub(super) fn count<N: TryFrom<NonZeroI64>>(
        &mut self,
        key: &str,
        limits: RangeInclusive<i64>,
    ) -> Result<N, ConfigError> {
        self.take(key, |value| count(value, limits))
    }

    pub(super) fn duration(&mut self, key: &str, limits: RangeInclusive<Duration>) -> Result<Duration, ConfigError> {
        self.text(key, |text| duration::within(&text, &limits))
    }

    /// A number, perhaps with a fraction.
    pub(super) fn number<T>(
        &mut self,
        key: &str,
        meaning: impl FnOnce(f64) -> Result<T, Refusal>,
    ) -> Result<T, ConfigError> {
        self.take(key, |value| match value {
            Value::Number(number) => meaning(number),
            _ => Err(other_type()),
        })
    }

    /// A list without empty items and without duplicates.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        meaning: impl FnOnce(Vec<String>) -> Result<T, Refusal>,
    ) -> Result<T, ConfigError> {
        self.take(key, |value| {
            let Value::List(items) = value else {
                return Err(other_type());
            };
            let mut seen = BTreeSet::new();
            for item in &items {
                if item.trim().is_empty() {
                    return Err(Refusal::new("has an empty item", "allowed: names"));
                }
                if !seen.insert(item) {
                    let problem = format!("names {} twice", quoted(item));
                    return Err(Refusal::new(problem, "allowed: each name once"));
                }
            }
            meaning(items)
        })
    }

    /// All settings whose key begins like this, by the rest of the key.
    pub(super) fn take_below(&mut self, prefix: &str) -> Vec<(String, Entry)> {
        let taken = self.entries.extract_if(.., |key: &String, _: &mut Entry| key.starts_with(prefix));
        taken.filter_map(|(key, entry)| Some((key.strip_prefix(prefix)?.to_owned(), entry))).collect()
    }

    /// All properties for librdkafka, by their own names.
    pub(super) fn client(&mut self) -> BTreeMap<String, client::ClientValue> {
        let property = |(name, entry): (String, Entry)| match entry.value {
            Value::Text(text) => Some((name, client::ClientValue::Plain(text))),
            Value::Secret(secret) => Some((name, client::ClientValue::Secret(secret))),
            _ => None,
        };
        self.take_below(client::PREFIX).into_iter().filter_map(property).collect()
    }
}

/// See [`Settings::count`].
pub(super) fn count<N: TryFrom<NonZeroI64>>(value: Value, limits: RangeInclusive<i64>) -> Result<N, Refusal> {
    let Value::Integer(number) = value else {
        return Err(other_type());
    };
    let inside = NonZeroI64::new(number).filter(|_| limits.contains(&number));
    inside.and_then(|number| N::try_from(number).ok()).ok_or_else(|| {
        let (least, most) = limits.into_inner();
        let remedy = match most {
            i64::MAX => format!("allowed: {least} or more"),
            _ => format!("allowed: {least} to {most}"),
        };
        Refusal::new(format!("{number} is out of range"), remedy)
    })
}

/// The path isn't shown: who puts the secret itself where its path belongs must not find it in the log.
fn read_secret(path: &Path) -> Result<Secret, Refusal> {
    let allowed = "allowed: the path of a readable text file that holds the secret";
    let text = std::fs::read_to_string(path)
        .map_err(|error| Refusal::new(format!("cannot read the file that holds it: {error}"), allowed))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Refusal::new("the file that holds it is empty", allowed));
    }
    Ok(Secret::from(text.to_owned()))
}

/// Layers have brought each value to its key's type, so this tells of a section that reads a key as something else.
fn other_type() -> Refusal {
    Refusal::new("is of another type than its default", "allowed: the default's type")
}
