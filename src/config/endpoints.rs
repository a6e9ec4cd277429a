//! `[health.endpoints.NAME]`: what else is asked how it is. The names are the user's; below each there are a few keys.

use std::{collections::BTreeMap, fmt};

use super::{
    endpoint_url::EndpointUrl,
    error::{ConfigError, Origin, Refusal, quoted},
    keys::Kind,
    secret::Secret,
    settings::{Entry, Settings, Value},
};

/// What an endpoint's key begins with.
pub(super) const PREFIX: &str = "health.endpoints.";

/// The keys of an endpoint. Those of secrets also with `_file`.
pub(super) const FIELDS: [&str; 3] = ["kind", "token", "url"];

/// Names of dependencies that are asked anyway.
const TAKEN: [&str; 4] = ["broker", "mcp", "outbox", "postgres"];

/// The type of the key that follows [`PREFIX`]; none where there is no such key.
pub(super) fn kind(rest: &str) -> Option<Kind> {
    match rest.rsplit_once('.')?.1 {
        "kind" => Some(Kind::Text),
        "token" | "url" => Some(Kind::Secret),
        _ => None,
    }
}

/// What a URL's key ends with, which is shown but for its secrets.
pub(super) fn is_url(key: &str) -> bool {
    key.strip_prefix(PREFIX).is_some_and(|rest| rest.ends_with(".url"))
}

/// How an endpoint is called: 1 to 40 lower-case letters, digits, `-` and `_`, the first one a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointName(String);

impl EndpointName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(name: &str) -> Result<Self, Refusal> {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        // Two in a row are the dot of a key in the environment.
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(letter)
            && name.len() <= 40
            && !name.contains("__");
        if !is_name {
            let allowed = "allowed: 1 to 40 lower-case letters, digits, - and single _, the first one a letter";
            return Err(Refusal::new("has no name for an endpoint in it", allowed));
        }
        if TAKEN.contains(&name) {
            let allowed = format!("allowed: any but {}", TAKEN.join(", "));
            return Err(Refusal::new(format!("{} is the name of another dependency", quoted(name)), allowed));
        }
        Ok(Self(name.to_owned()))
    }
}

/// What an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointKind {
    /// Answers to GET.
    Http,
    /// The Model Context Protocol by streamable HTTP.
    Mcp,
}

impl fmt::Display for EndpointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Mcp => "mcp",
        })
    }
}

/// By what an endpoint knows us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// Anybody may ask.
    NotNeeded,
    /// A token is to be sent, and none is set: its key is there and empty.
    Missing,
    /// The scheme `Bearer` or `Basic`, and what follows it.
    Header { scheme: &'static str, secret: Secret },
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    pub kind: EndpointKind,
    /// None where it isn't set, or empty.
    pub url: Option<EndpointUrl>,
    pub authorization: Authorization,
}

impl EndpointConfig {
    pub(super) fn read_all(settings: &mut Settings) -> Result<BTreeMap<EndpointName, Self>, ConfigError> {
        let mut fields: BTreeMap<String, BTreeMap<String, Entry>> = BTreeMap::new();
        for (rest, entry) in settings.take_below(PREFIX) {
            if let Some((name, field)) = rest.rsplit_once('.') {
                fields.entry(name.to_owned()).or_default().insert(field.to_owned(), entry);
            }
        }
        fields.into_iter().map(|(name, fields)| Self::read(&name, Fields { name: &name, fields })).collect()
    }

    fn read(name: &str, mut fields: Fields<'_>) -> Result<(EndpointName, Self), ConfigError> {
        let origin = fields.origin();
        let named = EndpointName::parse(name);
        let named = named.map_err(|why| ConfigError::invalid(&format!("{PREFIX}{name}"), why, origin.clone()))?;
        let kind = fields.take("kind", |kind| endpoint_kind(kind.as_deref()))?;
        let url = fields.take("url", |url| {
            url.filter(|url| !url.is_empty()).map(Secret::from).map(EndpointUrl::try_from).transpose()
        })?;
        let basic = url.as_ref().and_then(EndpointUrl::basic);
        let authorization = fields.take("token", |token| authorization(token, basic))?;
        Ok((named, Self { kind, url, authorization }))
    }
}

/// What is set of one endpoint.
struct Fields<'n> {
    name: &'n str,
    fields: BTreeMap<String, Entry>,
}

impl Fields<'_> {
    fn origin(&self) -> Origin {
        self.fields.values().next().map_or(Origin::Default, |entry| entry.origin.clone())
    }

    /// A refusal names the layer of the field, or of another one where this one isn't set.
    fn take<T>(
        &mut self,
        field: &str,
        meaning: impl FnOnce(Option<String>) -> Result<T, Refusal>,
    ) -> Result<T, ConfigError> {
        let fallback = self.origin();
        let (text, origin) = match self.fields.remove(field) {
            Some(Entry { value: Value::Text(text), origin }) => (Some(text), origin),
            Some(Entry { value: Value::Secret(secret), origin }) => (Some(secret.expose().to_owned()), origin),
            _ => (None, fallback),
        };
        meaning(text).map_err(|why| ConfigError::invalid(&format!("{PREFIX}{}.{field}", self.name), why, origin))
    }
}

fn endpoint_kind(text: Option<&str>) -> Result<EndpointKind, Refusal> {
    let allowed = "allowed: \"http\", \"mcp\"";
    match text {
        Some("http") => Ok(EndpointKind::Http),
        Some("mcp") => Ok(EndpointKind::Mcp),
        Some(other) => Err(Refusal::new(format!("{} is not a kind of endpoint", quoted(other)), allowed)),
        None => Err(Refusal::new("is not set", allowed)),
    }
}

fn authorization(token: Option<String>, basic: Option<Secret>) -> Result<Authorization, Refusal> {
    match (token, basic) {
        (Some(token), None) if token.is_empty() => Ok(Authorization::Missing),
        (Some(token), None) if token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Authorization::Header { scheme: "Bearer", secret: Secret::from(token) })
        }
        (Some(_), None) => {
            Err(Refusal::new("has a character that no bearer token has", "allowed: visible ASCII characters"))
        }
        (Some(_), Some(_)) => Err(Refusal::new("is set, and the URL has a user too", "allowed: one of them")),
        (None, Some(secret)) => Ok(Authorization::Header { scheme: "Basic", secret }),
        (None, None) => Ok(Authorization::NotNeeded),
    }
}
