//! Each rule of the configuration, as a sentence.

mod client;
mod endpoints;
mod errors;
mod kafka_security;
mod layers;
mod lenient;
mod ranges;
mod rendering;
mod samples;
mod secrets;
mod traces;
mod urls;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Config, ConfigError, Sources};

/// A file that is gone when the test is over.
struct TempFile(PathBuf);

impl TempFile {
    fn holding(text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sessionfold-config-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl AsRef<Path> for TempFile {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn load(file: Option<&TempFile>, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, ConfigError> {
    let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    Config::load(Sources {
        file: file.map(|file| file.0.clone()),
        environment: environment.iter().map(owned).collect(),
        flags: flags.iter().map(|flag| flag.to_string()).collect(),
    })
}

fn from_file(text: &str) -> Result<Config, ConfigError> {
    load(Some(&TempFile::holding(text)), &[], &[])
}

fn from_environment(name: &str, value: &str) -> Result<Config, ConfigError> {
    load(None, &[(name, value)], &[])
}

fn from_flag(flag: &str) -> Result<Config, ConfigError> {
    load(None, &[], &[flag])
}

/// The one line of the error that `loaded` must be.
fn message(loaded: Result<Config, ConfigError>) -> String {
    let message = loaded.expect_err("must be refused").to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}
