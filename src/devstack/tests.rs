//! Tests on real servers. They need what `scripts/install.sh` installs.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use super::detached::{Record, read_record};
use super::folder::Folder;
use super::ports::free_port;
use super::{Broker, DevStackError, Options, Postgres, Stack, broker, run_with_stack};

/// A folder for a test's stacks, to see that they leave nothing behind in it.
fn test_folder() -> Arc<Folder> {
    Folder::create(None).expect("the temporary folder is writable")
}

fn options_in(folder: &Folder) -> Options {
    Options { parent_folder: Some(folder.path().to_path_buf()), ..Options::default() }
}

fn is_empty(folder: &Path) -> bool {
    folder.read_dir().expect("the folder is there").next().is_none()
}

fn port_of(address: &str) -> u16 {
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
    port.expect("the address ends with a port")
}

async fn query(url: &str, statement: &'static str) -> Result<String, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let value = sqlx::query_scalar(statement).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(value)
}

fn records(folder: &Path) -> Vec<Record> {
    let records = read_record(folder).expect("a started stack has a record");
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(Record::runs));
    records
}

/// The child of [`run_with_stack`] in these tests: a shell.
async fn run_in_shell(options: &Options, script: &str) -> Result<u8, DevStackError> {
    let arguments = [OsString::from("-c"), OsString::from(script)];
    run_with_stack(options, OsStr::new("sh"), &arguments).await
}

#[tokio::test]
async fn a_stack_answers_and_leaves_nothing_behind() {
    let parent = test_folder();
    let begin = Instant::now();
    let stack = Stack::start(&options_in(&parent)).await.expect("the stack starts");
    let started = begin.elapsed();
    let records = records(stack.folder());

    let durability = "SELECT current_setting('fsync') || current_setting('synchronous_commit')
        || current_database() || current_setting('server_encoding')";
    assert_eq!(query(&stack.postgres.url(), durability).await.expect("Postgres answers"), "ononsessionfoldUTF8");
    let other = stack.postgres.create_database("an \"odd\" näme").await.expect("the name is free");
    let name = query(&other, "SELECT current_database()::text").await;
    assert_eq!(name.expect("the URL leads to the new database"), "an \"odd\" näme");
    let again = stack.postgres.create_database("sessionfold").await;
    assert!(matches!(again, Err(DevStackError::CreateDatabase { .. })));

    let port = port_of(&stack.broker.bootstrap());
    assert!(broker::answers(port, &records[0].mark).await);
    assert!(!broker::answers(port, "another cluster").await);

    let begin = Instant::now();
    stack.stop().await;
    println!("started in {started:?}, stopped in {:?}", begin.elapsed());
    assert!(!records.iter().any(Record::runs));
    assert!(is_empty(parent.path()));
}

#[tokio::test]
async fn a_dropped_stack_leaves_nothing_behind() {
    let parent = test_folder();
    let stack = Stack::start(&options_in(&parent)).await.expect("the stack starts");
    let records = records(stack.folder());
    let _open = PgConnection::connect(&stack.postgres.url()).await.expect("Postgres answers");
    drop(stack);
    assert!(!records.iter().any(Record::runs));
    assert!(is_empty(parent.path()));
}

#[tokio::test]
async fn a_cancelled_start_leaves_nothing_behind() {
    let parent = test_folder();
    let options = options_in(&parent);
    for milliseconds in [1, 50, 300, 700, 1_000] {
        let start = Stack::start(&options);
        let _ = tokio::time::timeout(Duration::from_millis(milliseconds), start).await;
        assert!(is_empty(parent.path()), "after {milliseconds} ms");
    }
}

#[tokio::test]
async fn a_detached_stack_runs_until_it_is_stopped() {
    let parent = test_folder();
    let stack = Stack::start(&options_in(&parent)).await.expect("the stack starts");
    let records = records(stack.folder());
    let detached = stack.detach();
    assert!(records.iter().all(Record::runs));
    let one = query(&detached.postgres_url, "SELECT '1'").await;
    assert_eq!(one.expect("Postgres answers"), "1");
    assert!(detached.stop_line().ends_with(&format!(" dev stop {}", detached.folder.display())));

    Stack::stop_detached(&detached.folder).await.expect("the stack stops");
    assert!(!records.iter().any(Record::runs));
    assert!(is_empty(parent.path()));
    let again = Stack::stop_detached(&detached.folder).await;
    assert!(matches!(again, Err(DevStackError::NotAStack { .. })));
}

#[tokio::test]
async fn a_folder_that_is_no_stack_is_not_touched() {
    let folder = test_folder();
    std::fs::write(folder.path().join("stack"), "hay").expect("the folder is writable");
    let outcome = Stack::stop_detached(folder.path()).await;
    assert!(matches!(outcome, Err(DevStackError::NotAStack { .. })));
    assert!(!is_empty(folder.path()));
}

#[tokio::test]
async fn a_paused_broker_is_silent_and_can_be_stopped() {
    let parent = test_folder();
    let mut broker = Broker::start(&options_in(&parent)).await.expect("the broker starts");
    let record = broker.record();
    let port = port_of(&broker.bootstrap());
    broker.pause().expect("the broker runs");
    // A thread that runs when the signal is sent goes on until it is interrupted.
    let deadline = Instant::now() + Duration::from_secs(10);
    while broker::answers(port, &record.mark).await {
        assert!(Instant::now() < deadline, "it answers though it is paused");
    }
    broker.resume().expect("the broker runs");
    assert!(broker::answers(port, &record.mark).await);
    broker.pause().expect("the broker runs");
    broker.stop().await;
    assert!(!record.runs());
    assert!(is_empty(parent.path()));
}

#[tokio::test]
async fn the_password_stays_out_of_debug_output_and_logs() {
    let parent = test_folder();
    let postgres = Postgres::start(&options_in(&parent)).await.expect("Postgres starts");
    let url = postgres.url();
    let password = url.split([':', '@']).nth(2).expect("the URL has a password");
    assert_eq!(password.len(), 32);
    assert!(postgres.psql_line().contains(password));
    assert!(!format!("{postgres:?}").contains(password));
    let wrong = url.replace(password, "wrong");
    assert!(PgConnection::connect(&wrong).await.is_err());
    let folder = parent.path().read_dir().expect("the folder is there").flatten().next();
    let folder = folder.expect("Postgres has a folder").path();
    let log = std::fs::read_to_string(folder.join("postgres.log")).expect("there is a log");
    assert!(log.contains("password authentication failed") && !log.contains(password));
    assert!(!folder.join("postgres/password").exists());
    postgres.stop().await;
}

#[tokio::test]
async fn an_absent_broker_is_named_with_its_cure() {
    let parent = test_folder();
    let options = Options { broker_program: Some(PathBuf::from("/nowhere/tansu")), ..options_in(&parent) };
    let error = Stack::start(&options).await.expect_err("there is no such program");
    let message = error.to_string();
    assert!(message.contains("/nowhere/tansu") && message.contains("scripts/install.sh"), "{message}");
    assert!(is_empty(parent.path()));
}

#[tokio::test]
async fn a_broker_that_ends_early_shows_its_log() {
    let parent = test_folder();
    let options = Options { broker_program: Some(PathBuf::from("/bin/ls")), ..options_in(&parent) };
    let message = Stack::start(&options).await.expect_err("ls is no broker").to_string();
    assert!(message.contains("the broker ended") && message.contains("--cluster-id"), "{message}");
    assert!(is_empty(parent.path()));
}

/// Ports of which the first is taken already.
fn ports_after(taken: &TcpListener) -> impl Fn() -> Result<u16, DevStackError> {
    let first = Cell::new(Some(port_of(&taken.local_addr().expect("it listens").to_string())));
    move || first.take().map_or_else(free_port, Ok)
}

/// Each server says in words of its own that a port is taken.
#[tokio::test]
async fn another_port_is_tried_when_the_first_is_lost() {
    let parent = test_folder();
    let options = options_in(&parent);
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let folder = Folder::create(Some(parent.path())).expect("the folder is writable");
    let (broker, postgres) = tokio::try_join!(
        Broker::start_in(Arc::clone(&folder), &options, ports_after(&taken)),
        Postgres::start_in(folder, &options, ports_after(&taken)),
    )
    .expect("both start on another port");
    assert!(query(&postgres.url(), "SELECT '1'").await.is_ok());
    tokio::join!(broker.stop(), postgres.stop());
    assert!(is_empty(parent.path()));
}

#[tokio::test]
async fn a_command_gets_the_stack_and_gives_its_exit_code() {
    let parent = test_folder();
    let options = options_in(&parent);
    let script = r#"test -n "$SESSIONFOLD_KAFKA__BROKERS" && test "$SESSIONFOLD_POSTGRES__URL" = \
        "$SESSIONFOLD_DEV_POSTGRES_URL" && psql "$SESSIONFOLD_DEV_POSTGRES_URL" -qAtc 'SELECT 1' >/dev/null && exit 7"#;
    assert_eq!(run_in_shell(&options, script).await.expect("the shell runs"), 7);
    assert_eq!(run_in_shell(&options, "kill -KILL $$").await.expect("the shell runs"), 137);
    let absent = run_with_stack(&options, OsStr::new("no-such-program"), &[]).await;
    assert!(matches!(absent, Err(DevStackError::Command { .. })));
    assert!(is_empty(parent.path()));
}

/// Starts are spawned as tasks in places, which takes futures that may move between threads.
#[test]
fn the_futures_may_move_between_threads() {
    fn check<T: Send>(future: T) {
        drop(future);
    }
    let options = Options::default();
    check(Stack::start(&options));
    check(run_in_shell(&options, "true"));
    check(Stack::stop_detached(Path::new("/nowhere")));
}
