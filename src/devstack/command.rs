//! Running another program with a development stack.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::process::send_to_process;
use super::{DevStackError, Options, Stack};

/// What a shell adds to a signal's number to make an exit code.
const SIGNAL_BASE: i32 = 128;

/// Starts a stack, runs a program in the foreground with it, stops the stack and returns the program's exit code (as
/// in a shell, 128 plus the signal for one that was killed).
///
/// The program gets the addresses in `SESSIONFOLD_KAFKA__BROKERS`, `SESSIONFOLD_POSTGRES__URL` and
/// `SESSIONFOLD_DEV_POSTGRES_URL`; the last is the superuser's, for tests that make databases.
///
/// No signal ends us before the program: Ctrl-C reaches it through the terminal, and SIGTERM and SIGHUP are passed on
/// to it. One that comes while the stack is starting ends the start. These signals keep being caught afterwards, so
/// that this function fits the end of a program's work.
///
/// # Errors
/// When the stack can't be started or the program can't be run. Nothing is left running then.
pub async fn run_with_stack(options: &Options, program: &OsStr, arguments: &[OsString]) -> Result<u8, DevStackError> {
    let mut signals = Signals::listen().map_err(DevStackError::Listen)?;
    let stack = tokio::select! {
        stack = Stack::start(options) => stack?,
        received = signals.next() => return Ok(exit_code_of_signal(received.number())),
    };
    let code = run(&stack, program, arguments, &mut signals).await;
    stack.stop().await;
    code
}

async fn run(
    stack: &Stack,
    program: &OsStr,
    arguments: &[OsString],
    signals: &mut Signals,
) -> Result<u8, DevStackError> {
    let failed = |source| DevStackError::Command { program: program.to_string_lossy().into_owned(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .env("SESSIONFOLD_KAFKA__BROKERS", stack.broker.bootstrap())
        .env("SESSIONFOLD_POSTGRES__URL", stack.postgres.url())
        .env("SESSIONFOLD_DEV_POSTGRES_URL", stack.postgres.url())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map(exit_code).map_err(failed),
            received = signals.next() => received.pass_on(&child),
        }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(number)) => exit_code_of_signal(number),
        (None, None) => u8::MAX,
    }
}

fn exit_code_of_signal(number: i32) -> u8 {
    u8::try_from(SIGNAL_BASE + number).unwrap_or(u8::MAX)
}

/// The signals that ask a program to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

#[derive(Clone, Copy)]
enum Received {
    Interrupt,
    Terminate,
    HangUp,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.interrupt.recv() => Received::Interrupt,
            _ = self.terminate.recv() => Received::Terminate,
            _ = self.hang_up.recv() => Received::HangUp,
        }
    }
}

impl Received {
    fn number(self) -> i32 {
        match self {
            Self::Interrupt => SignalKind::interrupt().as_raw_value(),
            Self::Terminate => SignalKind::terminate().as_raw_value(),
            Self::HangUp => SignalKind::hangup().as_raw_value(),
        }
    }

    fn pass_on(self, child: &Child) {
        let name = match self {
            // The terminal sends it to the child as well, and a second one makes many programs give up at once.
            Self::Interrupt => return,
            Self::Terminate => "TERM",
            Self::HangUp => "HUP",
        };
        // A child without a number, or that can't be reached, has ended: the wait for it is about to return.
        if let Some(process) = child.id() {
            send_to_process(process, name);
        }
    }
}
