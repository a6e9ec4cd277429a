//! A private Postgres with production's durability: its measurements are worth something.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, Connection};

use super::answer::{start_on_free_port, wait_for_answer};
use super::detached::Record;
use super::folder::{Folder, create_private_file, random_text};
use super::ports::free_port;
use super::process::{IMMEDIATE, Process, Server};
use super::server_programs::ServerPrograms;
use super::{DevStackError, Options};

/// The superuser, and the database that is made for it.
const USER: &str = "sessionfold";
const DATABASE: &str = "sessionfold";

/// The database that every cluster has from the start.
const FIRST_DATABASE: &str = "postgres";

/// Sizes for a machine that also runs the program, the broker and perhaps a compiler. Durability settings are
/// deliberately left at their defaults.
const SETTINGS: [&str; 4] =
    ["listen_addresses=127.0.0.1", "shared_buffers=256MB", "max_connections=200", "max_wal_size=2GB"];

/// How long one attempt to connect may take while the server starts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A running Postgres server. Dropping it ends it.
pub struct Postgres {
    // Before the folder: fields are dropped in this order.
    process: Process,
    port: u16,
    password: String,
    programs: ServerPrograms,
    home: PathBuf,
    data: PathBuf,
    log: PathBuf,
    deadline: Duration,
    _folder: Arc<Folder>,
}

impl Postgres {
    /// Starts a server with a folder of its own and returns when it answers and its database is made.
    ///
    /// # Errors
    /// When its programs (or, for root, the user `postgres`) are missing, or when it ends or stays silent instead of
    /// answering.
    pub async fn start(options: &Options) -> Result<Self, DevStackError> {
        Self::start_in(Folder::create(options.parent_folder.as_deref())?, options, free_port).await
    }

    pub(super) async fn start_in(
        folder: Arc<Folder>,
        options: &Options,
        next_port: impl Fn() -> Result<u16, DevStackError>,
    ) -> Result<Self, DevStackError> {
        let programs = ServerPrograms::find()?;
        let password = random_text(16)?;
        let home = make_home(&folder, &programs)?;
        let log = folder.path().join("postgres.log");
        initialize(&programs, &home, &password, &log, options.start_deadline).await?;
        let data = home.join("data");
        let (process, port) = start_on_free_port(
            options.start_deadline,
            next_port,
            |port| {
                let command = command(&programs, &home, &data, port);
                Process::spawn(Server::Postgres, command, &log)
            },
            |port| answers(port, &password),
        )
        .await?;
        let deadline = options.start_deadline;
        let postgres = Self { process, port, password, programs, home, data, log, deadline, _folder: folder };
        postgres.create_database(DATABASE).await?;
        Ok(postgres)
    }

    /// The URL of the database `sessionfold`, with the superuser's password.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The URL of a database, whether it is there or not.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        let database = encode(database);
        format!("postgres://{USER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    /// [`DevStackError::CreateDatabase`] when there is one of this name, or the server is gone.
    pub async fn create_database(&self, name: &str) -> Result<String, DevStackError> {
        let failed = |source| DevStackError::CreateDatabase { database: name.to_owned(), source };
        let mut connection =
            PgConnection::connect_with(&connection_to(self.port, &self.password)).await.map_err(failed)?;
        // Names can't be parameters. A quoted name is safe once the quotes in it are doubled.
        let statement = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.map_err(failed)?;
        connection.close().await.map_err(failed)?;
        Ok(self.url_of(name))
    }

    /// A line for a terminal that opens `psql` on the database `sessionfold`. It holds the password.
    #[must_use]
    pub fn psql_line(&self) -> String {
        let (password, port) = (&self.password, self.port);
        format!("PGPASSWORD={password} psql -h 127.0.0.1 -p {port} -U {USER} {DATABASE}")
    }

    /// Ends the server at once, as the loss of its machine would (`pg_ctl stop -m immediate`): it recovers when it is
    /// started again. One that has ended already stays so.
    pub async fn crash(&mut self) {
        // An error means that it has ended.
        let _ = self.process.send(Server::Postgres.immediate_signal());
        self.process.status_within(IMMEDIATE).await;
    }

    /// Starts a server that has ended, on its files and its port. Settings (`name=value`) outdo the usual ones.
    ///
    /// # Errors
    /// When it ends or stays silent instead of answering. It may be tried again.
    pub async fn start_again(&mut self, settings: &[&str]) -> Result<(), DevStackError> {
        let mut command = command(&self.programs, &self.home, &self.data, self.port);
        for setting in settings {
            command.args(["-c", setting]);
        }
        self.process = Process::spawn(Server::Postgres, command, &self.log)?;
        let (port, password) = (self.port, &self.password);
        wait_for_answer(&mut self.process, self.deadline, || answers(port, password)).await
    }

    /// Whether the server has ended, by itself or by [`Self::crash`].
    pub fn has_ended(&mut self) -> bool {
        self.process.status().is_some()
    }

    /// Freezes the server with all its processes: connections stay open and nothing answers.
    ///
    /// # Errors
    /// [`DevStackError::Signal`] when the server has ended.
    pub fn pause(&mut self) -> Result<(), DevStackError> {
        self.process.send_to_family("STOP")
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// [`DevStackError::Signal`] when the server has ended.
    pub fn resume(&mut self) -> Result<(), DevStackError> {
        self.process.send_to_family("CONT")
    }

    /// Ends the server by a fast shutdown: running statements are broken off, and what was committed is on disk.
    pub async fn stop(self) {
        self.process.stop().await;
    }

    pub(super) fn release(self) {
        self.process.release();
    }

    pub(super) fn record(&self) -> Record {
        Record { server: Server::Postgres, process: self.process.id(), mark: self.data.to_string_lossy().into_owned() }
    }
}

/// Without the password.
impl fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Postgres")
            .field("process", &self.process)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The part of the stack's folder that belongs to the server's user.
fn make_home(folder: &Folder, programs: &ServerPrograms) -> Result<PathBuf, DevStackError> {
    let home = folder.path().join("postgres");
    DirBuilder::new()
        .mode(0o700)
        .create(&home)
        .map_err(|source| DevStackError::Folder { path: home.clone(), source })?;
    programs.hand_over(&home)?;
    Ok(home)
}

/// Makes the database files by `initdb`.
async fn initialize(
    programs: &ServerPrograms,
    home: &Path,
    password: &str,
    log: &Path,
    deadline: Duration,
) -> Result<(), DevStackError> {
    let password_file = home.join("password");
    let failed = |source| DevStackError::Folder { path: password_file.clone(), source };
    writeln!(create_private_file(&password_file)?, "{password}").map_err(failed)?;
    programs.hand_over(&password_file)?;
    let mut command = programs.command("initdb", home);
    command
        .arg("--pgdata=data")
        .arg("--pwfile=password")
        .arg(format!("--username={USER}"))
        .args(["--auth-host=scram-sha-256", "--auth-local=trust"])
        .args(["--encoding=UTF8", "--locale=C"])
        // Nobody needs the empty files of a temporary folder after a power cut.
        .arg("--no-sync");
    let mut process = Process::spawn(Server::InitDatabase, command, log)?;
    let status = process.status_within(deadline).await;
    fs::remove_file(&password_file).map_err(failed)?;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(_) => Err(DevStackError::InitDatabase { log_end: process.log_end() }),
        None => Err(DevStackError::NoAnswer { name: process.name(), deadline, log_end: process.log_end() }),
    }
}

fn command(programs: &ServerPrograms, home: &Path, data: &Path, port: u16) -> Command {
    let mut command = programs.command("postgres", home);
    command.arg("-D").arg(data);
    // Relative to the data folder, as the path of a socket may not be longer than 107 bytes.
    command.args(["-c", "unix_socket_directories=.."]);
    command.args(["-c", &format!("port={port}")]);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command
}

/// Whether our server lets us in: no other knows the password.
async fn answers(port: u16, password: &str) -> bool {
    let options = connection_to(port, password);
    let connect = PgConnection::connect_with(&options);
    let Ok(Ok(connection)) = tokio::time::timeout(CONNECT_TIMEOUT, connect).await else {
        return false;
    };
    connection.close().await.is_ok()
}

fn connection_to(port: u16, password: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(USER)
        .password(password)
        .database(FIRST_DATABASE)
        // The server has no certificate, and PGSSLMODE may ask for one.
        .ssl_mode(PgSslMode::Disable)
}

/// Encodes what has a meaning of its own in a URL.
fn encode(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
