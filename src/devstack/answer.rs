//! Starting a server on a free port and waiting until it answers there.

use std::time::{Duration, Instant};

use super::DevStackError;
use super::process::Process;

/// How often another port is tried when someone else was faster to take the first.
const PORT_ATTEMPTS: usize = 5;

/// How long to wait between questions to a server that doesn't answer yet.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// Starts a server on the next port and returns it with the port when it answers; should the port be taken by then, it
/// goes on to the one after. `answers` must tell our server from any other that
/// may have been faster to take the port.
pub(super) async fn start_on_free_port<NextPort, Start, Answers, Answer>(
    deadline: Duration,
    next_port: NextPort,
    start: Start,
    answers: Answers,
) -> Result<(Process, u16), DevStackError>
where
    NextPort: Fn() -> Result<u16, DevStackError>,
    Start: Fn(u16) -> Result<Process, DevStackError>,
    Answers: Fn(u16) -> Answer,
    Answer: Future<Output = bool>,
{
    let mut attempt = 1;
    loop {
        let port = next_port()?;
        let mut process = start(port)?;
        match wait_for_answer(&mut process, deadline, || answers(port)).await {
            Ok(()) => return Ok((process, port)),
            Err(DevStackError::EndedEarly { log_end, .. })
                if attempt < PORT_ATTEMPTS && says_port_is_taken(&log_end) =>
            {
                tracing::debug!(server = process.name(), port, "the port was taken meanwhile");
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits until the server answers, unless it ends before.
pub(super) async fn wait_for_answer<Answer>(
    process: &mut Process,
    deadline: Duration,
    answers: impl Fn() -> Answer,
) -> Result<(), DevStackError>
where
    Answer: Future<Output = bool>,
{
    let start = Instant::now();
    loop {
        if answers().await {
            return Ok(());
        }
        if process.status().is_some() {
            return Err(DevStackError::EndedEarly { name: process.name(), log_end: process.log_end() });
        }
        if start.elapsed() >= deadline {
            return Err(DevStackError::NoAnswer { name: process.name(), deadline, log_end: process.log_end() });
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Postgres says the first, the broker the second.
fn says_port_is_taken(log_end: &str) -> bool {
    log_end.contains("Address already in use") || log_end.contains("AddrInUse")
}
