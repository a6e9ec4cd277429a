//! Postgres is away, ends connections, refuses them, has no room.
//!
//! [`work_through`] holds what is the same for all: nobody is evicted, work is resumed without help, nothing is lost.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sessionfold::devstack::{Options, Postgres};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    crashes::committed_records,
    expected::Expected,
    guarantees::records,
    locks::until_batches_wait,
    outage::{AtWork, Outcome, watchful, work_through},
    program::{Instance, until},
    tables::assert_tables_equal,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than the group waits for a member that doesn't poll.
const LONGER_THAN_A_SESSION: Duration = Duration::from_secs(7);

async fn private_postgres() -> Postgres {
    Postgres::start(&Options::default()).await.unwrap()
}

fn tell(fault: &str, outcome: &Outcome) {
    let Outcome { totals, openings, failures, resumed_after, .. } = outcome;
    println!(
        "{fault}: {} records, {} batches, {failures} failed transactions, breaker opened {openings} times, \
         committing again {resumed_after:.1?} after the end of the fault, no eviction, equal tables",
        totals.records(),
        totals.batches,
    );
}

/// Postgres crashes and is started again after it was away for so long.
async fn crash_and_stay_away(records_sent: u64, pause_between_sends: Duration, away: Duration) -> Outcome {
    let mut postgres = private_postgres().await;
    let deployment = watchful(&postgres.url()).await;
    let sent = records(records_sent, 41);
    let outcome = work_through(&deployment, &sent, pause_between_sends, async |at_work| {
        postgres.crash().await;
        at_work.until_it_stands_still().await;
        tokio::time::sleep(away).await; // the outage itself
        postgres.start_again(&[]).await.unwrap();
    })
    .await;
    assert!(outcome.openings > 0 && outcome.log.contains("Connection refused"), "{}", outcome.log);
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_crashes_and_comes_back_is_waited_for() {
    let outcome = crash_and_stay_away(10_000, Duration::from_millis(150), Duration::from_secs(5)).await;
    tell("Postgres crashed (immediate stop), away for 5 s", &outcome);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn a_postgres_that_is_away_for_a_minute_is_waited_for() {
    let outcome = crash_and_stay_away(40_000, Duration::from_secs(2), Duration::from_secs(60)).await;
    tell("Postgres crashed (immediate stop), away for 60 s", &outcome);
}

/// Commits that aren't waited for on the disk are lost in a crash, and their checkpoints with them: both are in one
/// transaction. What the service remembers of these sessions is wrong then.
#[tokio::test(flavor = "multi_thread")]
async fn commits_that_a_crash_takes_back_are_made_again_where_they_do_not_wait_for_the_disk() {
    let mut postgres = private_postgres().await;
    let server = postgres.url();
    postgres.crash().await;
    // Nothing is written before it must be.
    postgres
        .start_again(&["synchronous_commit=off", "wal_writer_delay=10s", "wal_writer_flush_after=1GB"])
        .await
        .unwrap();
    let mut deployment = watchful(&server).await;
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "1h");
    let sent = records(10_000, 48);
    let (first, rest) = sent.split_at(6_000);
    let mut instance = Instance::start(&deployment, &["run"]);
    deployment.send(first).await;
    let mut connection = deployment.connect().await;
    let committed = async || committed_records(&mut connection).await == first.len() as u64;
    until("the first records are committed", PATIENCE, committed).await;
    postgres.crash().await;
    postgres.start_again(&[]).await.unwrap();
    let kept = committed_records(&mut deployment.connect().await).await;
    assert!(kept < first.len() as u64, "the crash took nothing back");
    deployment.send(rest).await;
    let mut connection = deployment.connect().await;
    let committed = async || committed_records(&mut connection).await == sent.len() as u64;
    until("everything is committed", PATIENCE, committed).await;
    assert!(instance.said("fenced") > 0, "{}", instance.log());
    instance.terminate();
    assert!(instance.wait(PATIENCE).await.success(), "{}", instance.log());
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
    println!("a crash took {} of {} committed records back: all made again", first.len() as u64 - kept, first.len());
}

/// All connections are ended again and again. One that is between two transactions is replaced without a word, so the
/// breaker opens at the first that fails.
async fn end_connections(records_sent: u64, pause_between_sends: Duration, every: Duration, times: u32) -> Outcome {
    let mut deployment = watchful(&std::env::var("SESSIONFOLD_DEV_POSTGRES_URL").unwrap()).await;
    deployment.set("SESSIONFOLD_BREAKER__FAILURE_THRESHOLD", "1");
    deployment.set("SESSIONFOLD_BREAKER__HALF_OPEN_SUCCESSES", "1");
    deployment.set("SESSIONFOLD_BREAKER__OPEN_FOR", "100ms");
    let sent = records(records_sent, 42);
    let mut operator = deployment.connect().await;
    let outcome = work_through(&deployment, &sent, pause_between_sends, async |at_work| {
        for _ in 0..times {
            end_those_of_others(&mut operator).await;
            tokio::time::sleep(every).await; // the fault's own pace
        }
        // Most of the times above nothing was under way.
        let failed = async || {
            end_those_of_others(&mut operator).await;
            at_work.store.breaker().openings > 0
        };
        until("a transaction is broken off", PATIENCE, failed).await;
    })
    .await;
    assert!(outcome.openings > 0 && outcome.failures > 0);
    outcome
}

async fn end_those_of_others(operator: &mut PgConnection) {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    operator.execute(end).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_ended_ten_times_a_second_are_replaced() {
    let outcome = end_connections(20_000, Duration::from_millis(200), Duration::from_millis(100), 40).await;
    tell("all connections ended every 100 ms for 4 s", &outcome);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn connections_that_are_ended_every_second_are_replaced() {
    let outcome = end_connections(200_000, Duration::from_secs(1), Duration::from_secs(1), 20).await;
    tell("all connections ended every second for 20 s", &outcome);
}

/// Takes every connection that is free.
async fn take_all_connections(server: &str, taken: &mut Vec<PgConnection>) {
    loop {
        match PgConnection::connect(server).await {
            Ok(connection) => taken.push(connection),
            Err(error) => {
                let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
                assert_eq!(code.as_deref(), Some("53300"), "{error}");
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_others_have_used_up_are_waited_for() {
    let mut postgres = private_postgres().await;
    let server = postgres.url();
    postgres.crash().await;
    postgres.start_again(&["max_connections=12"]).await.unwrap();
    let deployment = watchful(&server).await;
    let sent = records(10_000, 43);
    let outcome = work_through(&deployment, &sent, Duration::from_millis(150), async |at_work| {
        let mut taken = Vec::new();
        // The service's own connections have to end before others can have them.
        let mut operator = deployment.connect().await;
        let none_is_left = async || {
            end_those_of_others(&mut operator).await;
            take_all_connections(&server, &mut taken).await;
            at_work.store.breaker().openings > 0
        };
        until("there is no connection left", PATIENCE, none_is_left).await;
        at_work.until_it_stands_still().await;
        tokio::time::sleep(LONGER_THAN_A_SESSION).await; // the outage itself
        for connection in taken {
            connection.close().await.unwrap();
        }
    })
    .await;
    assert!(outcome.log.contains("(SQLSTATE 53300)"), "{}", outcome.log);
    tell("no connection left (53300) for 7 s", &outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_frozen_in_the_midst_of_a_batch_is_waited_for() {
    let mut postgres = private_postgres().await;
    let deployment = watchful(&postgres.url()).await;
    let sent = records(10_000, 44);
    let (mut blocker, mut observer) = (deployment.connect().await, deployment.connect().await);
    let outcome = work_through(&deployment, &sent, Duration::from_millis(150), async |at_work| {
        let mut lock = blocker.begin().await.unwrap();
        lock.execute("LOCK TABLE sessions IN EXCLUSIVE MODE").await.unwrap();
        until_batches_wait(&mut observer, 1, None).await;
        postgres.pause().unwrap();
        at_work.until_it_stands_still().await;
        postgres.resume().unwrap();
        lock.rollback().await.unwrap();
    })
    .await;
    assert!(outcome.log.contains("Postgres does not answer"), "{}", outcome.log);
    tell("Postgres frozen in a batch, until the breaker had opened and probed", &outcome);
}

/// Set where nobody may mount anything: full disks are not tested then.
const WITHOUT_MOUNTS: &str = "SESSIONFOLD_TEST_WITHOUT_MOUNTS";

/// A small filesystem in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where this user may not mount one, and [`WITHOUT_MOUNTS`] says that this is known.
    fn mount(megabytes: u32) -> Option<Self> {
        let path = std::env::temp_dir().join(format!("small-disk-{}", uuid::Uuid::now_v7().simple()));
        fs::create_dir(&path).unwrap();
        let size = format!("size={megabytes}m,mode=0777");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).status();
        let disk = Self(path);
        let mounted = mounted.is_ok_and(|status| status.success());
        let known = std::env::var_os(WITHOUT_MOUNTS).is_some();
        assert!(mounted || known, "a full disk needs the right to mount a small one; {WITHOUT_MOUNTS}=1 goes without");
        mounted.then_some(disk)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        for size in [1 << 20, 1 << 12] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may be none, or still be in use by processes that are ending.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

/// New tables of this server lie on the disk.
async fn put_tables_on(postgres: &Postgres, disk: &Path) {
    let folder = disk.join("tables");
    fs::create_dir(&folder).unwrap();
    // The server's user, whoever that is, must own it.
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.unwrap();
    let owner = fs::metadata(data).unwrap();
    use std::os::unix::fs::{MetadataExt, chown};
    chown(&folder, Some(owner.uid()), Some(owner.gid())).unwrap();
    for statement in [
        format!("CREATE TABLESPACE small LOCATION '{}'", folder.display()),
        "ALTER ROLE CURRENT_USER SET default_tablespace = 'small'".to_owned(),
    ] {
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_room_to_grow_are_waited_for() {
    let Some(disk) = SmallDisk::mount(96) else { return };
    let postgres = private_postgres().await;
    put_tables_on(&postgres, &disk.0).await;
    let deployment = watchful(&postgres.url()).await;
    let sent = records(10_000, 45);
    let outcome = work_through(&deployment, &sent, Duration::from_millis(150), async |at_work| {
        disk.fill();
        at_work.until_it_stands_still().await;
        tokio::time::sleep(Duration::from_secs(2)).await; // the outage itself
        disk.make_room();
    })
    .await;
    assert!(outcome.log.contains("No space left on device (SQLSTATE 53100)"), "{}", outcome.log);
    tell("no room for the tables to grow (53100)", &outcome);
}

/// Brings Postgres to where it needs new files of its log, and finds no room for them.
async fn use_up_the_log(at_work: &AtWork, postgres: &mut Postgres, url: &str) {
    let ended = async || {
        if let Ok(mut connection) = PgConnection::connect(url).await {
            // It is cut off by the crash that this brings about.
            let _ = connection.execute("SELECT pg_switch_wal()").await;
        }
        postgres.has_ended()
    };
    until("Postgres panics, and can't recover without room", PATIENCE, ended).await;
    at_work.until_it_stands_still().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_panics_on_a_full_disk_is_waited_for_until_it_is_started_again() {
    let Some(disk) = SmallDisk::mount(320) else { return };
    let options = Options { parent_folder: Some(disk.0.clone()), ..Options::default() };
    let mut postgres = Postgres::start(&options).await.unwrap();
    let url = postgres.url();
    let deployment = watchful(&url).await;
    let sent = records(10_000, 46);
    let outcome = work_through(&deployment, &sent, Duration::from_millis(150), async |at_work| {
        disk.fill();
        use_up_the_log(at_work, &mut postgres, &url).await;
        disk.make_room();
        postgres.start_again(&[]).await.unwrap();
    })
    .await;
    tell("disk full under everything: Postgres panicked, and was started again with room", &outcome);
}
