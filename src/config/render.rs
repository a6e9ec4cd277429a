//! The effective configuration as text.

use std::collections::BTreeMap;

use toml::Value as Toml;

use super::client;
use super::endpoint_url;
use super::endpoints;
use super::error::Origin;
use super::postgres;
use super::secret::MASK;
use super::settings::{Settings, Value};

/// TOML, sorted by section and key, secrets masked, with the origin beside what isn't the default.
pub(super) fn render(settings: &Settings) -> String {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    for (key, entry) in settings.iter() {
        let (section, name) = split(key);
        let value = shown(key, &entry.value);
        let origin = match &entry.origin {
            Origin::Default => String::new(),
            origin => format!(" # from {origin}"),
        };
        let lines = sections.entry(section).or_default();
        lines.push_str(&format!("{name} = {value}{origin}\n"));
    }
    let section = |(name, lines)| format!("[{name}]\n{lines}");
    let sections: Vec<String> = sections.into_iter().map(section).collect();
    sections.join("\n")
}

/// A property's dots belong to its name, hence the quotes.
fn split(key: &str) -> (&str, String) {
    if let Some(property) = key.strip_prefix(client::PREFIX) {
        return (client::PREFIX.trim_end_matches('.'), format!("{property:?}"));
    }
    let endpoint = key.starts_with(endpoints::PREFIX);
    let split = if endpoint { key.rsplit_once('.') } else { key.split_once('.') };
    let (section, name) = split.unwrap_or(("", key));
    (section, name.to_owned())
}

fn shown(key: &str, value: &Value) -> Toml {
    match value {
        Value::Integer(number) => Toml::Integer(*number),
        Value::Number(number) => Toml::Float(*number),
        Value::Boolean(flag) => Toml::Boolean(*flag),
        Value::Text(text) => Toml::String(text.clone()),
        Value::List(items) => Toml::Array(items.iter().cloned().map(Toml::String).collect()),
        // Only URLs have parts that are worth showing.
        Value::Secret(url) if key == "postgres.url" => Toml::String(postgres::masked(url)),
        Value::Secret(url) if endpoints::is_url(key) || key == "traces.endpoint" => {
            Toml::String(endpoint_url::masked(url))
        }
        // That there is none is no secret.
        Value::Secret(secret) if secret.expose().is_empty() => Toml::String(String::new()),
        Value::Secret(_) | Value::SecretFile(_) => Toml::String(MASK.to_owned()),
    }
}
