//! The program itself, as a process.

use std::{
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use crate::deployment::Deployment;

/// A running instance; killed when dropped.
pub struct Instance(Child);

impl Instance {
    pub fn start(deployment: &Deployment, arguments: &[&str]) -> Self {
        let mut command = command(deployment, arguments);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Resident memory in MB; none once it has ended.
    pub fn resident_mb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim_end_matches("kB").trim();
        Some(kilobytes.parse::<u64>().ok()? / 1_000)
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the program did not end within {patience:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended long before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(deployment: &Deployment, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessionfold"));
    // The tests' own; a deployment may name a file instead.
    command.env_remove("SESSIONFOLD_POSTGRES__URL");
    command.args(arguments).envs(deployment.settings.iter().map(|(name, value)| (name, value)));
    command
}

/// Runs the program to its end.
pub fn run(deployment: &Deployment, arguments: &[&str]) -> Output {
    command(deployment, arguments).output().unwrap()
}

/// Waits until the condition holds.
pub async fn until(what: &str, patience: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
