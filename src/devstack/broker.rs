//! The Kafka-compatible broker: Tansu, which keeps all records in memory.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::answer::start_on_free_port;
use super::detached::Record;
use super::folder::{Folder, random_text};
use super::ports::free_port;
use super::process::{Process, Server};
use super::{DevStackError, Options};

const PROGRAM_VARIABLE: &str = "SESSIONFOLD_DEV_BROKER";
const PROGRAM: &str = "target/dev/tansu";

/// How long the broker may take to answer one question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);

/// A Kafka metadata request, version 2, for no topics: its answer names the cluster.
const METADATA_REQUEST: [u8; 18] = [
    0, 0, 0, 14, // length of what follows
    0, 3, // metadata
    0, 2, // version
    0, 0, 0, 1, // number of the request
    0xff, 0xff, // no client name
    0, 0, 0, 0, // no topics
];

/// A running broker. Dropping it kills it.
#[derive(Debug)]
pub struct Broker {
    // Before the folder: fields are dropped in this order.
    process: Process,
    port: u16,
    cluster: String,
    _folder: Arc<Folder>,
}

impl Broker {
    /// Starts a broker with a folder of its own and returns when it answers.
    ///
    /// # Errors
    /// When its program is missing, or when it ends or stays silent instead of answering.
    pub async fn start(options: &Options) -> Result<Self, DevStackError> {
        Self::start_in(Folder::create(options.parent_folder.as_deref())?, options, free_port).await
    }

    pub(super) async fn start_in(
        folder: Arc<Folder>,
        options: &Options,
        next_port: impl Fn() -> Result<u16, DevStackError>,
    ) -> Result<Self, DevStackError> {
        let program = find_program(options.broker_program.as_deref())?;
        let cluster = format!("sessionfold-{}", random_text(8)?);
        let log = folder.path().join("broker.log");
        let (process, port) = start_on_free_port(
            options.start_deadline,
            next_port,
            |port| {
                let command = command(&program, folder.path(), &cluster, port);
                Process::spawn(Server::Broker, command, &log)
            },
            |port| answers(port, &cluster),
        )
        .await?;
        Ok(Self { process, port, cluster, _folder: folder })
    }

    /// What a Kafka client takes as `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Freezes the broker: connections stay open and nothing answers, as with a broker that hangs.
    ///
    /// # Errors
    /// [`DevStackError::Signal`] when the broker has ended.
    pub fn pause(&mut self) -> Result<(), DevStackError> {
        self.process.send("STOP")
    }

    /// Lets a frozen broker go on.
    ///
    /// # Errors
    /// [`DevStackError::Signal`] when the broker has ended.
    pub fn resume(&mut self) -> Result<(), DevStackError> {
        self.process.send("CONT")
    }

    /// Ends the broker; all its records are gone.
    pub async fn stop(self) {
        self.process.stop().await;
    }

    pub(super) fn release(self) {
        self.process.release();
    }

    pub(super) fn record(&self) -> Record {
        Record { server: Server::Broker, process: self.process.id(), mark: self.cluster.clone() }
    }
}

fn find_program(given: Option<&Path>) -> Result<PathBuf, DevStackError> {
    let path = given
        .map(Path::to_path_buf)
        .or_else(|| std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(PROGRAM));
    // Absolute, since the broker starts in another current directory.
    match path.canonicalize() {
        Ok(program) if program.is_file() => Ok(program),
        _ => Err(DevStackError::BrokerProgramMissing { path }),
    }
}

fn command(program: &Path, folder: &Path, cluster: &str, port: u16) -> Command {
    let listener = format!("tcp://127.0.0.1:{port}");
    let mut command = Command::new(program);
    command
        .arg("broker")
        .args(["--cluster-id", cluster])
        .args(["--listener-url", &listener])
        .args(["--advertised-listener-url", &listener])
        .args(["--storage-engine", "memory://tansu/"])
        .arg("--silent")
        .current_dir(folder)
        // The broker takes options from these too, and they may be set for another purpose.
        .env_remove("SCHEMA_REGISTRY")
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
    command
}

/// Whether the broker of this cluster answers a metadata request. The cluster's name tells it from another broker on
/// the port.
pub(super) async fn answers(port: u16, cluster: &str) -> bool {
    let cluster = cluster.to_owned();
    tokio::task::spawn_blocking(move || ask(port).is_ok_and(|answer| contains(&answer, &cluster)))
        .await
        .unwrap_or(false)
}

fn ask(port: u16) -> std::io::Result<Vec<u8>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&address, QUESTION_TIMEOUT)?;
    connection.set_read_timeout(Some(QUESTION_TIMEOUT))?;
    connection.write_all(&METADATA_REQUEST)?;
    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    let mut answer = Vec::new();
    // The answer of a single broker without topics takes some 60 bytes; anything long isn't from ours.
    connection.take(u64::from(u32::from_be_bytes(length)).min(1_000)).read_to_end(&mut answer)?;
    Ok(answer)
}

fn contains(answer: &[u8], name: &str) -> bool {
    answer.windows(name.len()).any(|window| window == name.as_bytes())
}
