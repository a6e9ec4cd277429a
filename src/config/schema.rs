//! The name of the schema.

use std::fmt;

use super::error::{Refusal, quoted};

/// The name of the schema: one that needs no escaping in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaName(String);

impl SchemaName {
    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in double quotes, for SQL: without them `user` or `order` would be keywords.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl TryFrom<String> for SchemaName {
    type Error = Refusal;

    fn try_from(name: String) -> Result<Self, Refusal> {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let starts_well = name.starts_with(|c: char| !c.is_ascii_digit());
        let reserved = name.starts_with("pg_") || name == "information_schema";
        if starts_well && !reserved && name.len() <= 63 && name.chars().all(letter) {
            return Ok(Self(name));
        }
        Err(Refusal::new(
            format!("{} cannot be the schema's name", quoted(&name)),
            "allowed: lower-case letters, digits and underscores, at most 63, not starting with a digit or `pg_`",
        ))
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
