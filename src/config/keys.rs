//! The keys that exist and the type of each, taken from `config/default.toml`.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value as Toml};

use super::error::{Refusal, quoted};
use super::secret::Secret;
use super::settings::Value;
use super::{client, duration, endpoints};

/// Keys whose value is a secret. (Client properties and endpoints have rules of their own.)
const SECRETS: [&str; 5] = ["postgres.url", "http.token", "traces.endpoint", "traces.token", "traces.headers"];

/// What a key's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    /// With or without a fraction.
    Number,
    Boolean,
    Text,
    Duration,
    List,
    Secret,
    /// A property for librdkafka, which takes texts only and reads numbers and booleans out of them.
    Property,
}

/// Where a written key leads to.
pub(super) struct Place {
    pub(super) key: String,
    pub(super) kind: Kind,
    /// Whether the value is the path of a file that holds the value (`url_file`).
    pub(super) in_file: bool,
}

/// All known keys and sections.
pub(super) struct Keys {
    kinds: BTreeMap<String, Kind>,
    sections: BTreeSet<String>,
}

impl Keys {
    pub(super) fn of(defaults: &Table) -> Self {
        let mut keys = Self { kinds: BTreeMap::new(), sections: BTreeSet::new() };
        keys.collect("", defaults);
        keys
    }

    fn collect(&mut self, prefix: &str, table: &Table) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            if let Toml::Table(inner) = value {
                self.collect(&format!("{key}."), inner);
                self.sections.insert(key);
            } else {
                let kind = Kind::of(&key, value);
                self.kinds.insert(key, kind);
            }
        }
    }

    pub(super) fn is_section(&self, name: &str) -> bool {
        self.sections.contains(name)
    }

    /// Whether `name` is a value's key, so that a table in its place is a mistake.
    pub(super) fn is_value(&self, name: &str) -> bool {
        self.kinds.contains_key(name)
    }

    pub(super) fn locate(&self, name: &str) -> Option<Place> {
        let place = |key: &str, kind, in_file| Place { key: key.to_owned(), kind, in_file };
        // First, because any other name is a property too.
        if let Some(key) = name.strip_suffix("_file")
            && self.kind(key) == Some(Kind::Secret)
        {
            return Some(place(key, Kind::Secret, true));
        }
        self.kind(name).map(|kind| place(name, kind, false))
    }

    fn kind(&self, key: &str) -> Option<Kind> {
        if let Some(rest) = key.strip_prefix(endpoints::PREFIX) {
            return endpoints::kind(rest);
        }
        match key.strip_prefix(client::PREFIX) {
            Some(property) if client::is_secret(property) => Some(Kind::Secret),
            Some(_) => Some(Kind::Property),
            None => self.kinds.get(key).copied(),
        }
    }

    /// Every name that may be written, but for the client's properties and what belongs to endpoints.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let files = SECRETS.iter().map(|key| format!("{key}_file"));
        self.kinds.keys().cloned().chain(files)
    }

    /// The known name that `name` was probably meant to be.
    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        if let Some((endpoint, field)) = name.strip_prefix(endpoints::PREFIX).and_then(|rest| rest.rsplit_once('.')) {
            let nearest = endpoints::FIELDS.into_iter().min_by_key(|known| distance(field, known))?;
            return Some(format!("{}{endpoint}.{nearest}", endpoints::PREFIX));
        }
        let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
        let written = last(name);
        let rank = |known: &String| match distance(name, known) {
            // The right key in the wrong section, or in none.
            far if far > 1 && last(known) == written => 1,
            far => far,
        };
        let close = 1 + name.len() / 5;
        self.names().map(|known| (rank(&known), known)).filter(|(rank, _)| *rank <= close).min().map(|(_, known)| known)
    }
}

impl Kind {
    fn of(key: &str, default: &Toml) -> Self {
        match default {
            _ if SECRETS.contains(&key) => Self::Secret,
            Toml::Integer(_) => Self::Integer,
            Toml::Float(_) => Self::Number,
            Toml::Boolean(_) => Self::Boolean,
            Toml::Array(_) => Self::List,
            Toml::String(text) if duration::parse(text).is_ok() => Self::Duration,
            _ => Self::Text,
        }
    }

    /// A value from a TOML file, where types are written down and must be right.
    pub(super) fn of_toml(self, value: &Toml) -> Result<Value, Refusal> {
        match (self, value) {
            (Self::Integer, Toml::Integer(number)) => Ok(Value::Integer(*number)),
            (Self::Number, Toml::Float(number)) => Ok(Value::Number(*number)),
            (Self::Number, Toml::Integer(number)) => Ok(Value::Number(*number as f64)),
            (Self::Boolean, Toml::Boolean(flag)) => Ok(Value::Boolean(*flag)),
            (Self::Text | Self::Duration | Self::Property, Toml::String(text)) => Ok(Value::Text(text.clone())),
            (Self::Secret, Toml::String(text)) => Ok(Value::Secret(Secret::from(text.clone()))),
            (Self::Property, Toml::Integer(number)) => Ok(Value::Text(number.to_string())),
            (Self::Property, Toml::Boolean(flag)) => Ok(Value::Text(flag.to_string())),
            (Self::Duration, Toml::Integer(number)) => Err(duration::without_unit(&number.to_string())),
            (Self::List, Toml::Array(items)) => {
                let text = |item: &Toml| item.as_str().map(str::to_owned);
                let items: Option<Vec<String>> = items.iter().map(text).collect();
                items.map(Value::List).ok_or_else(|| self.mismatch("a list with other items"))
            }
            _ => Err(self.mismatch(value.type_str())),
        }
    }

    /// A value from the environment or a flag, where everything is text.
    pub(super) fn of_text(self, text: &str) -> Result<Value, Refusal> {
        let wrong = |_| self.mismatch(&quoted(text));
        match self {
            Self::Integer => text.trim().parse().map(Value::Integer).map_err(wrong),
            Self::Number => text.trim().parse().map(Value::Number).map_err(|_| self.mismatch(&quoted(text))),
            Self::Boolean => match text.trim() {
                "true" => Ok(Value::Boolean(true)),
                "false" => Ok(Value::Boolean(false)),
                _ => Err(self.mismatch(&quoted(text))),
            },
            Self::Text | Self::Duration | Self::Property => Ok(Value::Text(text.to_owned())),
            Self::Secret => Ok(Value::Secret(Secret::from(text.to_owned()))),
            Self::List if text.trim().is_empty() => Ok(Value::List(Vec::new())),
            Self::List => {
                let items = text.split(',').map(|item| item.trim().to_owned());
                Ok(Value::List(items.collect()))
            }
        }
    }

    fn mismatch(self, found: &str) -> Refusal {
        let allowed = match self {
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Text | Self::Secret => "a string",
            Self::Duration => "a string with a unit, like \"60s\"",
            Self::List => "a list of strings",
            Self::Property => "a string, a whole number, true or false",
        };
        Refusal::new(format!("{found} is of the wrong type"), format!("allowed: {allowed}"))
    }
}

/// The edit distance (Levenshtein): how many letters must be changed, added or left out.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
