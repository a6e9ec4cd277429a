//! Stacks that outlive the program that started them, and their end.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::folder::create_private_file;
use super::process::{IMMEDIATE, LOOK_AGAIN, ORDERLY, Server, send_to_group};
use super::{Broker, DevStackError, Postgres, folder};

/// The file in a stack's folder that says which processes belong to it.
const RECORD_FILE: &str = "stack";
/// Its first line, without which no folder is removed.
const RECORD_TITLE: &str = "sessionfold development stack, version 1";

/// Where to reach a stack that was left running.
pub struct Detached {
    /// The stack's folder, which [`stop_detached`](super::Stack::stop_detached) takes.
    pub folder: PathBuf,
    /// What a Kafka client takes as `bootstrap.servers`.
    pub bootstrap: String,
    /// The URL of the database `sessionfold`, with the superuser's password.
    pub postgres_url: String,
    /// A line for a terminal that opens `psql`. It holds the password.
    pub psql_line: String,
}

impl Detached {
    pub(super) fn new(folder: &Path, broker: &Broker, postgres: &Postgres) -> Self {
        Self {
            folder: folder.to_path_buf(),
            bootstrap: broker.bootstrap(),
            postgres_url: postgres.url(),
            psql_line: postgres.psql_line(),
        }
    }

    /// A line for a terminal that ends the stack by this very program: `… dev stop FOLDER`.
    #[must_use]
    pub fn stop_line(&self) -> String {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("sessionfold"));
        format!("{} dev stop {}", quote(&program), quote(&self.folder))
    }
}

/// Without the password.
impl fmt::Debug for Detached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Detached")
            .field("folder", &self.folder)
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
}

/// A server as the record file knows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) server: Server,
    pub(super) process: u32,
    /// A text among the process's arguments that no other process has: after its end the number may be given to a
    /// process that isn't ours.
    pub(super) mark: String,
}

impl Record {
    /// Whether the server still runs.
    pub(super) fn runs(&self) -> bool {
        arguments_of(self.process).is_some_and(|arguments| arguments.contains(&self.mark))
    }

    async fn stop(&self) -> Result<(), DevStackError> {
        let steps =
            [(self.server.orderly_signal(), ORDERLY), (self.server.immediate_signal(), IMMEDIATE), ("KILL", IMMEDIATE)];
        for (signal, deadline) in steps {
            if !self.runs() {
                return Ok(());
            }
            let sent = send_to_group(self.process, signal);
            // A paused process acts on signals only when it goes on.
            send_to_group(self.process, "CONT");
            if sent && self.ends_within(deadline).await {
                return Ok(());
            }
        }
        if !self.runs() {
            return Ok(());
        }
        Err(DevStackError::StillRunning { name: self.server.name(), process: self.process })
    }

    async fn ends_within(&self, deadline: Duration) -> bool {
        let start = Instant::now();
        while self.runs() {
            if start.elapsed() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        true
    }

    fn to_line(&self) -> String {
        let server = match self.server {
            Server::Broker => "broker",
            Server::Postgres => "postgres",
            Server::InitDatabase => "initdb",
        };
        format!("{server} {} {}", self.process, self.mark)
    }

    fn from_line(line: &str) -> Option<Self> {
        let (server, rest) = line.split_once(' ')?;
        let (process, mark) = rest.split_once(' ')?;
        let server = match server {
            "broker" => Server::Broker,
            "postgres" => Server::Postgres,
            "initdb" => Server::InitDatabase,
            _ => return None,
        };
        // An empty mark would be found in the arguments of any process.
        (!mark.is_empty()).then_some(Self {
            server,
            process: process.parse().ok().filter(|&process| process > 1)?,
            mark: mark.to_owned(),
        })
    }
}

/// Writes down which processes belong to the stack.
pub(super) fn write_record(folder: &Path, records: &[Record]) -> Result<(), DevStackError> {
    let path = folder.join(RECORD_FILE);
    let lines: Vec<String> = records.iter().map(Record::to_line).collect();
    writeln!(create_private_file(&path)?, "{RECORD_TITLE}\n{}", lines.join("\n"))
        .map_err(|source| DevStackError::Folder { path, source })
}

/// What [`write_record`] wrote, or nothing if this isn't the folder of a stack.
pub(super) fn read_record(folder: &Path) -> Option<Vec<Record>> {
    let text = fs::read_to_string(folder.join(RECORD_FILE)).ok()?;
    let mut lines = text.lines();
    if lines.next()? != RECORD_TITLE {
        return None;
    }
    lines.map(Record::from_line).collect()
}

/// Ends the servers of a folder's record, then removes the folder.
pub(super) async fn stop(folder: &Path) -> Result<(), DevStackError> {
    let records = read_record(folder).ok_or_else(|| DevStackError::NotAStack { folder: folder.to_path_buf() })?;
    for record in &records {
        record.stop().await?;
    }
    folder::remove(folder).map_err(|source| DevStackError::Folder { path: folder.to_path_buf(), source })
}

/// The arguments of a running process, joined; nothing for a process that has ended.
fn arguments_of(process: u32) -> Option<String> {
    if Path::new("/proc/self/cmdline").exists() {
        let arguments = fs::read(format!("/proc/{process}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&arguments).into_owned());
    }
    let output = Command::new("ps").args(["-ww", "-o", "args=", "-p", &process.to_string()]).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A path as one word of a shell command.
fn quote(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record { server: Server::Postgres, process: 4711, mark: "/a folder/with spaces".to_owned() };
        assert_eq!(Record::from_line(&record.to_line()), Some(record));
        for broken in ["", "broker", "broker 12", "broker 12 ", "broker 1 mark", "broker x mark", "shell 12 mark"] {
            assert_eq!(Record::from_line(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn paths_are_quoted_for_a_shell_where_needed() {
        assert_eq!(quote(Path::new("/tmp/sessionfold-1a2b")), "/tmp/sessionfold-1a2b");
        assert_eq!(quote(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
