//! The development stack: a private Postgres and a private Kafka-compatible broker, on free ports of 127.0.0.1 and
//! with all their files in one temporary folder.
//!
//! `sessionfold demo`, `sessionfold dev`, the tests and the benchmarks start it. It needs the Postgres server programs
//! and the broker's program on the machine; `scripts/install.sh` brings both.
//!
//! What a stack started it also ends: on [`Stack::stop`], when it is dropped, when a later part of it fails to start,
//! and when the future that starts it is cancelled. Only [`Stack::detach`] leaves it running. A program that is
//! killed outright, or leaves through [`std::process::exit`] with a stack alive, leaves it behind too;
//! [`Stack::stop_detached`] clears that away.

mod answer;
mod broker;
mod command;
mod detached;
mod error;
mod folder;
mod ports;
mod postgres;
mod process;
mod server_programs;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use broker::Broker;
pub use command::run_with_stack;
pub use detached::Detached;
pub use error::DevStackError;
pub use postgres::Postgres;

use folder::Folder;
use ports::free_port;

/// How a stack is started. [`Options::default`] suits everything but special cases.
#[derive(Debug, Clone)]
pub struct Options {
    /// The broker's program. Without it: what the environment variable `SESSIONFOLD_DEV_BROKER` names, else
    /// `target/dev/tansu` below the current directory.
    pub broker_program: Option<PathBuf>,
    /// Where the stack's temporary folder is made. Without it: the system's folder for temporary files.
    pub parent_folder: Option<PathBuf>,
    /// How long each server may take until it answers.
    pub start_deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { broker_program: None, parent_folder: None, start_deadline: Duration::from_secs(30) }
    }
}

/// A running broker and a running Postgres that share a temporary folder.
///
/// Dropping it ends both without ceremony and removes the folder, blocking for some milliseconds.
#[derive(Debug)]
pub struct Stack {
    pub broker: Broker,
    pub postgres: Postgres,
    folder: Arc<Folder>,
}

impl Stack {
    /// Starts both servers at once and returns when both answer.
    ///
    /// # Errors
    /// When a server program is missing or a server doesn't answer in time. Nothing is left running then.
    pub async fn start(options: &Options) -> Result<Self, DevStackError> {
        let folder = Folder::create(options.parent_folder.as_deref())?;
        let (broker, postgres) = tokio::try_join!(
            Broker::start_in(Arc::clone(&folder), options, free_port),
            Postgres::start_in(Arc::clone(&folder), options, free_port),
        )?;
        // Written now and not only by `detach`: it is what makes a stack stoppable whose program was killed.
        detached::write_record(folder.path(), &[broker.record(), postgres.record()])?;
        Ok(Self { broker, postgres, folder })
    }

    /// The temporary folder: `broker.log`, `postgres.log` and the servers' files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends both servers in an orderly way (Postgres by a fast shutdown) and removes the folder.
    ///
    /// A server that doesn't follow in time is killed, so that this always comes to an end.
    pub async fn stop(self) {
        let Self { broker, postgres, folder } = self;
        // The folder goes with its last owner, hence after both servers.
        tokio::join!(broker.stop(), postgres.stop());
        drop(folder);
    }

    /// Leaves both servers running after this program ends. [`Detached::stop_line`] is the command that ends them.
    #[must_use]
    pub fn detach(self) -> Detached {
        let Self { broker, postgres, folder } = self;
        folder.keep();
        let detached = Detached::new(folder.path(), &broker, &postgres);
        broker.release();
        postgres.release();
        detached
    }

    /// Ends a stack that was left running, by its folder, and removes the folder. Servers that have ended by
    /// themselves are no error.
    ///
    /// # Errors
    /// [`DevStackError::NotAStack`] for a folder that no stack made: nothing is touched then.
    /// [`DevStackError::StillRunning`] when a server can't be ended, such as one of another user.
    pub async fn stop_detached(folder: &Path) -> Result<(), DevStackError> {
        detached::stop(folder).await
    }
}
