//! `sessions delete` and `restore`, and what becomes of the events.

use std::time::Duration;

use sessionfold::{
    event::{Decoded, Decoder, Event, SessionId, WireRecord},
    fold::{Aggregators, BatchFold, Convergent, ConvergentState, Folded, Wanted},
    generate::{GeneratedRecord, Generator, Shape},
    pipeline::Totals,
    service::{Service, open_store},
    store::{BatchCommit, CommitError, Publication, Store, TakenFrom},
    stream::Until,
};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use crate::{
    deployment::{Deployment, MAX_VALUE_BYTES, drain},
    expected::Expected,
    program::{self, Instance, until},
    records::{prompt, started, tool},
    tables::assert_tables_equal,
};

use super::{err, json, out, printed, refused, two_sessions};

const TABLES: [&str; 6] = ["sessions", "prompts", "tool_executions", "lifecycle_events", "transitions", "aggregates"];

/// How many rows of any table are a session's.
async fn rows_of(deployment: &Deployment, session: &str) -> i64 {
    let mut connection = deployment.connect().await;
    let mut sum = 0;
    for table in TABLES {
        let count = format!("SELECT count(*) FROM {table} WHERE session_id = $1");
        sum +=
            sqlx::query_scalar::<_, i64>(AssertSqlSafe(count)).bind(session).fetch_one(&mut connection).await.unwrap();
    }
    sum
}

/// Standard output of a deletion that succeeds.
#[track_caller]
fn delete(deployment: &Deployment, arguments: &[&str]) -> String {
    let output = program::run(deployment, &[&["sessions", "delete", "--yes"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    out(&output)
}

/// What a group of its own makes of the whole log, which is a replay.
async fn replay(deployment: &Deployment) -> Totals {
    let mut again = deployment.clone();
    again.set("SESSIONFOLD_KAFKA__GROUP_ID", &format!("{}-{}", deployment.group_id, uuid::Uuid::now_v7()));
    drain(&again.config()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_is_gone_and_neither_new_events_nor_a_replay_bring_it_back_until_it_is_restored() {
    let deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let before = rows_of(&deployment, "b").await;
    assert!(
        rows_of(&deployment, "a").await >= 6,
        "a row, four events, and a transition, or more by how they were batched"
    );

    let output = program::run(&deployment, &["sessions", "delete", "a", "--yes", "--reason", "token=abcdefgh"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(out(&output), "a: deleted, with 4 events\n");
    let said = err(&output);
    assert!(said.starts_with("a: ended, 4 events, the last at 2026-03-01 09:01:00 UTC: is deleted with"), "{said}");
    assert_eq!((rows_of(&deployment, "a").await, rows_of(&deployment, "b").await), (0, before));
    let (code, said) = refused(&deployment, &["show", "a"]);
    assert!(code == 1 && said.contains("\"a\" was deleted at ") && said.contains("\"token=***REDACTED***\""), "{said}");

    deployment.send(&[prompt("a", 6, "2026-03-01T09:00:20Z"), prompt("b", 7, "2026-03-01T10:00:20Z")]).await;
    let totals = deployment.drain().await;
    assert_eq!((totals.applied, totals.ignored, totals.records()), (1, 1, 2));
    let totals = replay(&deployment).await;
    assert_eq!((totals.applied, totals.duplicates, totals.ignored, totals.records()), (0, 2, 5, 7));
    assert_eq!(rows_of(&deployment, "a").await, 0);

    assert!(printed(&deployment, &["restore", "a", "b"]).starts_with("a: its events count again"));
    assert!(printed(&deployment, &["restore", "a"]).starts_with("a: was not deleted"));
    assert_eq!(rows_of(&deployment, "a").await, 0, "nothing comes back by itself");
    let totals = replay(&deployment).await;
    assert_eq!((totals.applied, totals.duplicates, totals.ignored), (5, 2, 0));
    assert_eq!(json(&deployment, &["show", "a"])["event_count"], 5);
    let output = program::run(&deployment, &["verify", "--topics"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_stored_may_be_deleted_and_one_that_was_stays_so() {
    let deployment = Deployment::new(1).await;
    assert_eq!(
        delete(&deployment, &["never", "again"]),
        "never: was not stored; its events will be ignored\nagain: was not stored; its events will be ignored\n"
    );
    assert_eq!(delete(&deployment, &["never"]), "never: was deleted before\n");
    deployment.send(&[started("never", 1, "2026-03-01T09:00:00Z"), started("other", 2, "2026-03-01T09:00:00Z")]).await;
    let totals = deployment.drain().await;
    assert_eq!((totals.applied, totals.ignored), (1, 1));
    let found: serde_json::Value = serde_json::from_str(&delete(&deployment, &["never", "other", "--json"])).unwrap();
    let expected = serde_json::json!({"deleted": [
        {"session_id": "never", "event_count": null, "was_deleted": true},
        {"session_id": "other", "event_count": 1, "was_deleted": false},
    ]});
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_where_nobody_says_yes() {
    let deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let before = rows_of(&deployment, "a").await;
    for arguments in [&["delete", "a"][..], &["delete"], &["delete", "a", "--yes", "--reason", ""], &["delete", ""]] {
        let (code, said) = refused(&deployment, arguments);
        assert!(code == 2 && !said.is_empty(), "{arguments:?}: {said}");
    }
    assert_eq!(rows_of(&deployment, "a").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_deleted_under_an_instance_that_remembers_it_stays_deleted() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "1h");
    let mut connection = deployment.connect().await;
    let mut instance = Instance::start(&deployment, &["run"]);
    deployment.send(&[started("a", 1, "2026-03-01T09:00:00Z"), started("b", 2, "2026-03-01T09:00:00Z")]).await;
    let mut events_of_b = async |wanted: i64| {
        let count = "SELECT coalesce(max(event_count), 0) FROM sessions WHERE session_id = 'b'";
        sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await.unwrap() == wanted
    };
    until("both are stored", Duration::from_secs(60), async || events_of_b(1).await).await;
    delete(&deployment, &["a"]);
    deployment.send(&[prompt("a", 3, "2026-03-01T09:00:05Z"), prompt("b", 4, "2026-03-01T09:00:05Z")]).await;
    until("the second batch is committed", Duration::from_secs(60), async || events_of_b(2).await).await;
    instance.stop().await;
    assert_eq!(rows_of(&deployment, "a").await, 0);
    let last = instance.log().lines().rev().find(|line| line.contains(" ignored=")).unwrap().to_owned();
    assert!(last.contains(" ignored=1 ") && last.contains(" applied=3 "), "{last}");
}

fn good_records(records: u64) -> Vec<GeneratedRecord> {
    Generator::new(Shape { records, bad_share: 0.0, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() }).collect()
}

/// Two groups write the same sessions while half of these are deleted, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_that_race_with_two_writers_leave_nothing_behind_and_take_nothing_else() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "25");
    let sent = good_records(6_000);
    deployment.send(&sent).await;
    let mut sessions: Vec<String> = sent.iter().map(|record| String::from_utf8(record.key.clone()).unwrap()).collect();
    sessions.sort_unstable();
    sessions.dedup();
    let deleted: Vec<&String> = sessions.iter().step_by(2).collect();
    assert!(deleted.len() > 80, "{}", deleted.len());

    let mut other = deployment.clone();
    other.set("SESSIONFOLD_KAFKA__GROUP_ID", &format!("{}-other", deployment.group_id));
    let start = |deployment: &Deployment| {
        let config = deployment.config();
        Service::start(&config, open_store(&config), deployment.aggregators(), Until::Drained).unwrap()
    };
    let (one, two) = (start(&deployment), start(&other));
    // Either may be far ahead: what comes to the second writer is then a duplicate, and none of it is applied.
    let counts = [one.monitor().counts, two.monitor().counts];
    let read = || counts.iter().map(|counts| counts.totals().records()).sum::<u64>();
    let store = open_store(&deployment.config());
    let delete = async |session: &str| {
        let found = store.delete_session(&SessionId::parse(session).unwrap(), None).await.unwrap();
        found.event_count.is_some()
    };
    // One that nobody has written yet; how far the writers are ahead of the other deletions is up to the machine.
    assert!(!delete(deleted[0]).await);
    let delete_all = async {
        until("the first batch is committed", Duration::from_secs(60), async || read() > 0).await;
        let mut with_row = 0;
        for session in &deleted[1..] {
            with_row += usize::from(delete(session).await);
        }
        (with_row, read())
    };
    let (one, two, (with_row, by_then)) = tokio::join!(one.run(), two.run(), delete_all);
    let (one, two) = (one.unwrap(), two.unwrap());

    for totals in [&one, &two] {
        assert_eq!(totals.records(), sent.len() as u64);
        assert!(totals.ignored > 0, "{totals:?}");
    }
    assert!(by_then < 2 * sent.len() as u64, "the deletions came after everything");
    assert!(with_row > 0, "no deletion met a row");
    for session in &deleted {
        assert_eq!(rows_of(&deployment, session).await, 0, "{session}");
    }
    let kept: Vec<&GeneratedRecord> =
        sent.iter().filter(|record| !deleted.iter().any(|session| session.as_bytes() == record.key)).collect();
    let mut expected = Expected::of(kept);
    expected.records = 2 * sent.len() as u64;
    assert_tables_equal(&deployment, &expected).await;
    let output = program::run(&deployment, &["verify", "--topics"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
}

/// So many sessions of one event are copied.
const MANY: usize = 1_000;

async fn fold<'e>(
    store: &Store,
    aggregators: &Aggregators<Convergent>,
    wanted: &Wanted<'_>,
    events: &'e [Event],
) -> Folded<'e, ConvergentState> {
    let standing = store.standing(aggregators, wanted).await.unwrap();
    let mut fold = BatchFold::new(aggregators, standing);
    events.iter().for_each(|event| fold.push(event));
    store.finish_fold(fold).await.unwrap()
}

async fn commit(
    store: &Store,
    aggregators: &Aggregators<Convergent>,
    folded: &Folded<'_, ConvergentState>,
) -> Result<(), CommitError> {
    let taken_from = TakenFrom::Log { group_id: "g", moves: &[], dead_letters: &[] };
    let publication = Publication::Published;
    store.commit(&BatchCommit { taken_from, aggregators, changes: &folded.changes, publication }).await
}

fn event(record: &GeneratedRecord) -> Event {
    let wire = WireRecord { value: record.value.as_deref(), kind_header: None, timestamp: None };
    let Decoded::Event(event) = Decoder::default().decode(wire) else { panic!("no event") };
    event
}

/// What two transactions of a batch do, with a deletion in between: of a session that is there, of a new one, and of one
/// among so many that they are copied.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_read_before_a_deletion_meets_a_conflict_and_then_a_tombstone() {
    let deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let (store, aggregators) = (open_store(&deployment.config()), deployment.aggregators());
    let many = (0..MANY).map(|number| format!("many-{number}")).collect();
    for sessions in [vec!["a".to_owned()], vec!["new".to_owned()], many] {
        let events: Vec<Event> =
            sessions.iter().map(|session| event(&prompt(session, 9, "2026-03-01T09:00:30Z"))).collect();
        let wanted = Wanted::everything_of(events.iter().collect());
        let folded = fold(&store, &aggregators, &wanted, &events).await;
        let deleted = SessionId::parse(sessions.last().unwrap()).unwrap();
        store.delete_session(&deleted, None).await.unwrap();

        let committed = commit(&store, &aggregators, &folded).await;
        assert!(matches!(committed, Err(CommitError::Conflict)), "{deleted}: {committed:?}");
        assert_eq!(rows_of(&deployment, deleted.as_str()).await, 0);
        let standing = store.standing(&aggregators, &wanted).await.unwrap();
        assert_eq!(standing.deleted, std::iter::once(deleted).collect());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_of_many_new_sessions_the_second_meets_a_conflict() {
    let deployment = Deployment::new(1).await;
    let (store, aggregators) = (open_store(&deployment.config()), deployment.aggregators());
    // They have one session in common.
    let of = |numbers: std::ops::Range<usize>| -> Vec<Event> {
        let prompt = |number: usize| prompt(&format!("many-{number}"), 9, "2026-03-01T09:00:30Z");
        numbers.map(|number| event(&prompt(number))).collect()
    };
    let (first, second) = (of(0..MANY), of(MANY - 1..2 * MANY - 1));
    let wanted = [&first, &second].map(|events| Wanted::everything_of(events.iter().collect()));
    let folded =
        [fold(&store, &aggregators, &wanted[0], &first).await, fold(&store, &aggregators, &wanted[1], &second).await];
    commit(&store, &aggregators, &folded[0]).await.unwrap();
    let committed = commit(&store, &aggregators, &folded[1]).await;
    assert!(matches!(committed, Err(CommitError::Conflict)), "{committed:?}");

    // Once it has read again, the common session's event is there.
    let again = fold(&store, &aggregators, &wanted[1], &second).await;
    assert_eq!((again.outcome.applied, again.outcome.duplicates), (MANY as u64 - 1, 1));
    commit(&store, &aggregators, &again).await.unwrap();
    let counts = "SELECT count(*), sum(event_count)::bigint FROM sessions";
    let counts: (i64, i64) = sqlx::query_as(counts).fetch_one(&mut deployment.connect().await).await.unwrap();
    let all = 2 * MANY as i64 - 1;
    assert_eq!(counts, (all, all));
}

/// A row that nobody can see yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_for_a_row_that_is_being_inserted() {
    let deployment = Deployment::new(1).await;
    let (mut writer, store) = (deployment.connect().await, open_store(&deployment.config()));
    writer.execute("BEGIN").await.unwrap();
    writer
        .execute(
            "INSERT INTO sessions (session_id, status, correlation_id, run_count, prompt_count, tool_count,
                tool_failure_count, tools_used_count, tool_usage, event_count, first_event_at, last_event_at, aggregator,
                state, version)
            VALUES ('a', 'active', gen_random_uuid(), 1, 0, 0, 0, 0, '{}', 7, now(), now(), 'convergent/1', '{}', 1)",
        )
        .await
        .unwrap();
    let a = SessionId::parse("a").unwrap();
    let mut watcher = deployment.connect().await;
    let commit = async {
        let waiting = async || is_waited_for(&mut watcher).await;
        until("the deletion waits", Duration::from_secs(5), waiting).await;
        writer.execute("COMMIT").await.unwrap();
    };
    let (deleted, ()) = tokio::join!(store.delete_session(&a, None), commit);
    assert_eq!(deleted.unwrap().event_count, Some(7));
    assert_eq!(rows_of(&deployment, "a").await, 0);
}

/// Whether a deletion waits for writers.
async fn is_waited_for(connection: &mut PgConnection) -> bool {
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'ExclusiveLock'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    sqlx::query_scalar(waits).fetch_one(connection).await.unwrap()
}

/// The sweep locks rows before it writes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_for_a_sweep_under_way_and_is_no_deadlock() {
    let deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let (mut sweep, store) = (deployment.connect().await, open_store(&deployment.config()));
    sweep.execute("BEGIN").await.unwrap();
    sweep.execute("SELECT FROM sessions WHERE session_id = 'b' FOR NO KEY UPDATE").await.unwrap();
    let b = SessionId::parse("b").unwrap();
    let deletion = store.delete_session(&b, None);
    let mut watcher = deployment.connect().await;
    let rest = async {
        let waiting = async || is_waited_for(&mut watcher).await;
        until("the deletion waits", Duration::from_secs(5), waiting).await;
        sweep.execute("UPDATE sessions SET version = version + 1 WHERE session_id = 'b'").await.unwrap();
        sweep.execute("COMMIT").await.unwrap();
    };
    let (deleted, ()) = tokio::join!(deletion, rest);
    assert_eq!(deleted.unwrap().event_count, Some(1));
    let statistics = store.statistics().into_iter().find(|(name, _)| *name == "delete_session").unwrap().1;
    assert_eq!((statistics.retries, statistics.failures), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_a_deleted_session_of_which_something_is_stored_and_leaves_it_alone() {
    let deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let mut connection = deployment.connect().await;
    connection.execute("INSERT INTO deleted_sessions (session_id) VALUES ('a'), ('c')").await.unwrap();
    connection
        .execute(
            "INSERT INTO prompts (session_id, prompt_id, emitted_at, prompt_preview, prompt_length, entity_id,
                correlation_id, causation_id, action_description)
            SELECT 'c', prompt_id, emitted_at, '', 1, entity_id, correlation_id, causation_id, '' FROM prompts",
        )
        .await
        .unwrap();
    for arguments in [&["verify"][..], &["verify", "--topics"], &["verify", "--repair", "--yes"]] {
        let output = program::run(&deployment, &[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let deleted = "nothing, since it was deleted";
        let named = serde_json::json!([
            {"session_id": "a", "field": "session", "stored": "a row", "expected": deleted},
            {"session_id": "c", "field": "session", "stored": "events", "expected": deleted},
        ]);
        assert_eq!(report["differences"], named, "{arguments:?}");
    }
    // To delete it again is what mends it.
    assert_eq!(delete(&deployment, &["a", "c"]), "a: deleted, with 4 events\nc: was deleted before\n");
    assert_eq!(program::run(&deployment, &["verify", "--topics"]).status.code(), Some(0));
    assert_eq!(rows_of(&deployment, "c").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_session_is_deleted_whole() {
    let deployment = Deployment::new(1).await;
    let mut events: Vec<_> = (0..200).map(|id| tool("a", id, "2026-03-01T09:00:00Z", "Bash")).collect();
    events.push(started("b", 1, "2026-03-01T09:00:00Z"));
    deployment.send(&events).await;
    deployment.drain().await;
    assert_eq!(delete(&deployment, &["a"]), "a: deleted, with 200 events\n");
    assert_eq!((rows_of(&deployment, "a").await, rows_of(&deployment, "b").await), (0, 3));
}
