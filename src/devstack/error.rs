//! What can go wrong with a development stack, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

/// Why a development stack couldn't be started, used or stopped. Each message says what to do; none holds a password.
#[derive(Debug, thiserror::Error)]
pub enum DevStackError {
    #[error(
        "the broker's program was not found at {}: run scripts/install.sh, or set SESSIONFOLD_DEV_BROKER to its path",
        path.display()
    )]
    BrokerProgramMissing { path: PathBuf },

    #[error(
        "the Postgres server programs were not found: run scripts/install.sh, or install them (Debian's package is \
         `postgresql`)"
    )]
    PostgresProgramsMissing,

    #[error(
        "Postgres refuses to run as root, and there is no user `postgres` to run it as: make one with \
         `useradd --system postgres`, or run this command as another user than root"
    )]
    PostgresUserMissing,

    #[error(
        "{program} could not be run: {source}. Check that it is an executable file for this machine, and that the \
         folder for temporary files (TMPDIR) is open to the user it runs as"
    )]
    Program { program: String, source: std::io::Error },

    #[error("{}: {source}. Set TMPDIR to a folder on a disk with free space that you may write to", path.display())]
    Folder { path: PathBuf, source: std::io::Error },

    #[error("no free port on 127.0.0.1: {0}. Check that the network interface `lo` is up")]
    NoFreePort(std::io::Error),

    #[error("no random bytes for a password from /dev/urandom: {0}. Check that the device is readable")]
    NoRandomBytes(std::io::Error),

    #[error("initdb could not make the database files. Act on the end of what it said:\n{log_end}")]
    InitDatabase { log_end: String },

    #[error("{name} ended while it was starting. Act on the end of its log:\n{log_end}")]
    EndedEarly { name: &'static str, log_end: String },

    #[error(
        "{name} didn't answer within {deadline:?}. Try again on a less busy machine, or act on the end of its \
         log:\n{log_end}"
    )]
    NoAnswer { name: &'static str, deadline: Duration, log_end: String },

    #[error("could not make the database {database}: {source}. Choose another name, or start a new stack")]
    CreateDatabase { database: String, source: sqlx::Error },

    #[error("could not send SIG{signal} to {name}. Check that it still runs; if not, start a new stack")]
    Signal { name: &'static str, signal: &'static str },

    #[error(
        "{} is not the folder of a development stack: give the folder that was shown when it was left running",
        folder.display()
    )]
    NotAStack { folder: PathBuf },

    #[error("{name} (process {process}) still runs: stop it as the user who started it")]
    StillRunning { name: &'static str, process: u32 },

    #[error("signals can't be listened to: {0}. Check the limit of open files (`ulimit -n`)")]
    Listen(std::io::Error),

    #[error("{program}: {source}. Check the command's name, and that it is on the PATH")]
    Command { program: String, source: std::io::Error },
}
