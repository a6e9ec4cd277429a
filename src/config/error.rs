//! What is wrong with a configuration: one line that names the key, the layer, the fault and what is allowed.

use std::fmt;
use std::path::PathBuf;

/// Why a configuration can't be used. Never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key that doesn't exist.
    #[error("{key}: unknown key; {hint} (from {origin})")]
    Unknown {
        /// The key as it was written.
        key: String,
        /// The nearest known one, or where to find them all.
        hint: String,
        /// The layer it stands in.
        origin: Origin,
    },
    /// A key that exists, with a value that can't be used.
    #[error("{key}: {refusal} (from {origin})")]
    Invalid {
        /// The key in its dotted form.
        key: String,
        /// What is wrong, and what is allowed.
        refusal: Refusal,
        /// The layer it stands in.
        origin: Origin,
    },
    /// The configuration file can't be read.
    #[error("{origin}: cannot be read: {problem}")]
    Unreadable {
        /// The file.
        origin: Origin,
        /// What the system said. In the message already, hence not the error's source.
        problem: std::io::Error,
    },
    /// The configuration file isn't TOML. The line itself isn't shown, since a secret may stand in it.
    #[error("{origin}: not valid TOML in line {line}, column {column}: {problem}")]
    Syntax {
        /// The file.
        origin: Origin,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What the parser said.
        problem: String,
    },
    /// A flag that isn't `key=value`. It isn't shown, since a secret may stand in it.
    #[error("--set: no `=` in its value; allowed: section.key=value")]
    Flag,
    /// A variable whose value isn't text.
    #[error("{origin}: its value is not UTF-8; allowed: UTF-8 text")]
    NotText {
        /// The variable.
        origin: Origin,
    },
}

impl ConfigError {
    pub(super) fn unknown(key: &str, nearest: Option<String>, origin: Origin) -> Self {
        let hint = match nearest {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "`sessionfold config` lists the known ones".to_owned(),
        };
        Self::Unknown { key: shown_key(key), hint, origin }
    }

    pub(super) fn invalid(key: &str, refusal: Refusal, origin: Origin) -> Self {
        Self::Invalid { key: shown_key(key), refusal, origin }
    }
}

/// What is wrong with a value, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub struct Refusal {
    problem: String,
    remedy: String,
}

impl Refusal {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

/// The layer that gave a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `config/default.toml`, compiled in.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// A `--set` flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", one_line(&path.to_string_lossy())),
            Self::Environment(name) => write!(f, "environment variable {}", one_line(name)),
            Self::Flag => f.write_str("flag --set"),
        }
    }
}

/// A value that isn't secret, for an error: quoted, on one line, and not longer than a line should be.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A key for an error. `--set "postgres.url:postgres://u:pw@h/db?sslmode=require"` has a secret where its key should be,
/// so only what looks like a key is shown.
fn shown_key(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !key.is_empty() && key.len() <= 100 && key.chars().all(plain) {
        key.to_owned()
    } else {
        "(not a dotted name)".to_owned()
    }
}

/// Origins stand in one-line errors and in TOML comments; neither may be broken by an odd file name.
fn one_line(text: &str) -> String {
    let visible = |c| if char::is_control(c) { '\u{fffd}' } else { c };
    text.chars().map(visible).collect()
}
