//! The program itself, as a process.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::deployment::Deployment;

/// A running instance; killed when dropped.
pub struct Instance {
    process: Child,
    /// What it has said on standard error.
    log: Arc<Mutex<Vec<String>>>,
    /// Ends when it has said everything.
    listening: Option<JoinHandle<()>>,
}

impl Instance {
    pub fn start(deployment: &Deployment, arguments: &[&str]) -> Self {
        let mut command = command(deployment, arguments);
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let kept = Arc::clone(&log);
        let listen = move || lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        Self { process, log, listening: Some(std::thread::spawn(listen)) }
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.hear_out();
    }

    /// Its last words may still be on their way when it has ended.
    fn hear_out(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.join().unwrap();
        }
    }

    /// Resident memory in MB; none once it has ended.
    pub fn resident_mb(&self) -> Option<u64> {
        Some(self.memory("VmRSS:")? / 1_000_000)
    }

    /// A line of what Linux knows of its memory, in bytes; none once it has ended.
    fn memory(&self, line: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let kibibytes = status.lines().find_map(|found| found.strip_prefix(line))?.trim().strip_suffix(" kB")?;
        Some(kibibytes.parse::<u64>().ok()? * 1_024)
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Asks it to stop and waits for that. It ends in good order, which it does only where every record that it read is
    /// accounted for. Returns how long it took.
    pub async fn stop(&mut self) -> Duration {
        let begun = Instant::now();
        self.terminate();
        let status = self.wait(Duration::from_secs(10)).await;
        assert!(status.success(), "{status}: {}", self.log());
        begun.elapsed()
    }

    /// Freezes it in the middle of whatever it does, as when its machine hangs.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// How many lines of its log hold this text.
    pub fn said(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// How often the group gave it partitions, perhaps none, or took them away.
    pub fn rebalances(&self) -> usize {
        self.said("partitions assigned") + self.said("partitions revoked")
    }

    /// Waits until the group has given it partitions so often.
    pub async fn until_assigned(&self, times: usize) {
        let with_some = || self.said("partitions assigned") - self.said("partitions assigned partitions=0");
        let assigned = async || with_some() >= times;
        until("the group gives it partitions", Duration::from_secs(60), assigned).await;
    }

    /// The most memory that it ever had at once, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:").unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// The signal that has ended it, if one has.
    pub fn ended_by_signal(&mut self) -> Option<i32> {
        self.process.try_wait().unwrap()?.signal()
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                self.hear_out();
                return status;
            }
            assert!(Instant::now() < deadline, "the program did not end within {patience:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of an instance:\n{}", self.log());
        }
        // It may have ended long before.
        let _ = self.process.kill();
        let _ = self.process.wait();
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

/// Runs it to its end, with this for its standard output.
pub fn run_into(deployment: &Deployment, arguments: &[&str], stdout: Stdio) -> Output {
    let running = command(deployment, arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn();
    running.unwrap().wait_with_output().unwrap()
}

/// Waits until the condition holds.
pub async fn until(what: &str, patience: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
