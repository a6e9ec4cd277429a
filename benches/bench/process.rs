//! Programs as child processes, whose memory is looked at.

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::rig::{Place, Rig};

/// A running program; killed when dropped.
pub struct Process {
    child: Child,
    peak_bytes: Option<u64>,
}

impl Process {
    pub fn start(mut command: Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
        Ok(Self { child, peak_bytes: None })
    }

    /// Takes note of the most memory that it ever had. Linux keeps it, as long as the process lives; elsewhere it stays
    /// unknown.
    pub fn look_at_memory(&mut self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        self.peak_bytes = kibibytes.map(|kibibytes| kibibytes * 1_024).max(self.peak_bytes);
    }

    pub fn peak_bytes(&self) -> Option<u64> {
        self.peak_bytes
    }

    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What it has printed, once it has ended. It is less than a pipe holds.
    pub fn output(&mut self) -> Result<String> {
        let status = self.child.wait()?;
        ensure!(status.success(), "a program that is measured failed: {status}");
        let mut text = String::new();
        if let Some(mut output) = self.child.stdout.take() {
            output.read_to_string(&mut text)?;
        }
        Ok(text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended long before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `sessionfold` at a place.
pub fn sessionfold(rig: &Rig, place: &Place, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessionfold"));
    // What the shell happens to have set must not change a measurement.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SESSIONFOLD_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).envs(place.settings.iter().cloned());
    for setting in rig.set() {
        command.args(["--set", setting]);
    }
    Process::start(command)
}
