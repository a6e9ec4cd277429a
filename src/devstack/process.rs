//! A server process that never outlives its owner.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::DevStackError;
use super::folder::create_private_file;

/// How long a server may take to end after the orderly signal, and after the immediate one.
pub(super) const ORDERLY: Duration = Duration::from_secs(30);
pub(super) const IMMEDIATE: Duration = Duration::from_secs(5);

/// How often an ending process is looked at.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How much of a log an error shows.
const LOG_LINES: usize = 20;

/// The programs that a stack runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Broker,
    Postgres,
    /// Not a server, but it must not outlive us either.
    InitDatabase,
}

impl Server {
    /// The name that messages use.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Broker => "the broker",
            Self::Postgres => "Postgres",
            Self::InitDatabase => "initdb",
        }
    }

    /// The signal, without `SIG`, that ends the program in an orderly way. To Postgres it is a fast shutdown, which
    /// breaks off what is running and leaves clean files.
    pub(super) fn orderly_signal(self) -> &'static str {
        match self {
            Self::Broker | Self::InitDatabase => "TERM",
            Self::Postgres => "INT",
        }
    }

    /// The signal that ends the program with all its processes at once. Postgres isn't killed: its children would
    /// live on for a moment.
    pub(super) fn immediate_signal(self) -> &'static str {
        match self {
            Self::Broker | Self::InitDatabase => "KILL",
            Self::Postgres => "QUIT",
        }
    }
}

/// A child process in a process group of its own, killed when dropped.
///
/// The group keeps Ctrl-C in a terminal from reaching the server: our program hears it alone and ends the servers
/// when it no longer needs them. Standard output and error go to the log.
#[derive(Debug)]
pub(super) struct Process {
    server: Server,
    child: Child,
    log: PathBuf,
    released: bool,
}

impl Process {
    /// Starts the command with an emptied log.
    pub(super) fn spawn(server: Server, mut command: Command, log: &Path) -> Result<Self, DevStackError> {
        let output = create_private_file(log)?;
        let errors = output.try_clone().map_err(|source| DevStackError::Folder { path: log.to_path_buf(), source })?;
        let child =
            command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0).spawn().map_err(|source| {
                DevStackError::Program { program: command.get_program().to_string_lossy().into_owned(), source }
            })?;
        Ok(Self { server, child, log: log.to_path_buf(), released: false })
    }

    pub(super) fn name(&self) -> &'static str {
        self.server.name()
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of the log.
    pub(super) fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&log), LOG_LINES)
    }

    /// The exit status, once the process has ended. A process that can't be asked about counts as running.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end, up to a deadline.
    pub(super) async fn status_within(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            let status = self.status();
            if status.is_some() || start.elapsed() >= deadline {
                return status;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Sends a signal to the process and those of its group.
    pub(super) fn send(&mut self, signal: &'static str) -> Result<(), DevStackError> {
        // After its end was seen the number may belong to someone else.
        if self.status().is_none() && send_to_group(self.id(), signal) {
            return Ok(());
        }
        Err(DevStackError::Signal { name: self.name(), signal })
    }

    /// Sends a signal to the process and its children. Those of Postgres have groups of their own.
    pub(super) fn send_to_family(&mut self, signal: &'static str) -> Result<(), DevStackError> {
        // The process first: one that is stopped makes no more children.
        self.send(signal)?;
        for child in children(self.id()) {
            // One that has ended meanwhile needs no signal.
            send_to_process(child, signal);
        }
        Ok(())
    }

    /// Lets what is frozen go on: it acts on other signals only then.
    fn thaw(&mut self) {
        // An error means that the process is gone already.
        let _ = self.send_to_family("CONT");
    }

    /// Ends the process in an orderly way; one that doesn't follow in time is ended as by a drop.
    pub(super) async fn stop(mut self) {
        if self.status().is_some() {
            return;
        }
        send_to_group(self.id(), self.server.orderly_signal());
        self.thaw();
        if self.status_within(ORDERLY).await.is_none() {
            tracing::warn!(server = self.name(), "didn't stop within {ORDERLY:?} and is killed");
        }
    }

    /// Lets the process outlive this program.
    pub(super) fn release(mut self) {
        self.released = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.released || self.status().is_some() {
            return;
        }
        send_to_group(self.id(), self.server.immediate_signal());
        self.thaw();
        let start = Instant::now();
        while self.status().is_none() {
            if start.elapsed() >= IMMEDIATE {
                send_to_group(self.id(), "KILL");
                // An error means that the process is gone already.
                let _ = self.child.wait();
                return;
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Sends a signal to a process group; false when it couldn't be sent.
pub(super) fn send_to_group(group: u32, signal: &str) -> bool {
    send(&format!("-{group}"), signal)
}

/// Sends a signal to one process; false when it couldn't be sent.
pub(super) fn send_to_process(process: u32, signal: &str) -> bool {
    send(&process.to_string(), signal)
}

/// The children of a process; none where the program that lists processes is missing.
fn children(parent: u32) -> Vec<u32> {
    let listed = Command::new("ps").args(["-A", "-o", "ppid=", "-o", "pid="]).stderr(Stdio::null()).output();
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    let child = |line: &str| {
        let (of, process) = line.trim().split_once(char::is_whitespace)?;
        (of.parse() == Ok(parent)).then(|| process.trim().parse().ok())?
    };
    String::from_utf8_lossy(&listed).lines().filter_map(child).collect()
}

fn send(target: &str, signal: &str) -> bool {
    // The shell's own `kill`, as the program of this name is missing on small systems, and a system call would need
    // unsafe code.
    Command::new("sh")
        .args(["-c", r#"kill -s "$1" -- "$2""#, "sh", signal, target])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(count)..].join("\n");
    if end.is_empty() { "(empty)".to_owned() } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_shown() {
        assert_eq!(last_lines("one\ntwo\nthree\n", 2), "two\nthree");
        assert_eq!(last_lines("one\n", 2), "one");
        assert_eq!(last_lines("", 2), "(empty)");
    }
}
