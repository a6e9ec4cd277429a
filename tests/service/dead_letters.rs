//! `sessionfold dead-letters`: what was set aside is seen, and taken after all.

use std::{collections::BTreeMap, process::Output};

use serde_json::{Value, json};
use sessionfold::{
    event::EventKind,
    fold::{Aggregators, Convergent},
    generate::{GeneratedRecord, Generator, Shape},
    pipeline::{Redrive, Redriven},
    service::{decoder, open_store},
    store::{LetterFilter, LetterStatus, RedriveScope},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    deployment::{Deployment, MAX_VALUE_BYTES},
    expected::Expected,
    locks::until_batches_wait,
    program::{self, Instance},
    records::{prompt, record, started, tool},
    tables::assert_tables_equal,
};

const LIMIT: &str = "SESSIONFOLD_EVENTS__MAX_VALUE_BYTES";

fn records(records: u64) -> Vec<GeneratedRecord> {
    Generator::new(Shape { records, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() }).collect()
}

/// The limit of a value's size beyond which so many of the good records lie.
fn limit_that_breaks(sent: &[GeneratedRecord], count: usize) -> usize {
    let good = sent.iter().filter(|record| record.intended.is_none());
    let mut sizes: Vec<usize> = good.map(|record| record.value.as_ref().unwrap().len()).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes[count]
}

/// A log that was read to its end with a limit that broke at least so many good records, and the limit as it should be
/// since.
async fn drained_with_fault(sent: &[GeneratedRecord], broken: usize) -> Deployment {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "200");
    let limit = limit_that_breaks(sent, broken);
    deployment.send(sent).await;
    deployment.set(LIMIT, &limit.to_string());
    deployment.drain().await;
    assert_tables_equal(&deployment, &Expected::within(limit, sent)).await;
    deployment.set(LIMIT, &MAX_VALUE_BYTES.to_string());
    deployment
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

/// What the command prints, which ends well.
#[track_caller]
fn run(deployment: &Deployment, arguments: &[&str]) -> String {
    let output = program::run(deployment, &[&["dead-letters"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn run_json(deployment: &Deployment, arguments: &[&str]) -> Value {
    serde_json::from_str(&run(deployment, &[arguments, &["--json"]].concat())).unwrap()
}

/// Redrives all in this process, in batches of the configured size.
async fn redrive(deployment: &Deployment) -> Redriven {
    let config = deployment.config();
    let store = open_store(&config);
    let (_, last) = store.count_dead_letters(&LetterFilter::default(), 5).await.unwrap();
    let scope = RedriveScope {
        filter: LetterFilter::default(),
        last: last.unwrap(),
        max_attempts: 5,
        max_letters: config.batch.max_events.get().try_into().unwrap(),
        max_bytes: 1 << 20,
    };
    let aggregators = Aggregators::new(Convergent::default());
    let redrive = Redrive { store: &store, aggregators: &aggregators, decoder: &decoder(&config), scope: &scope };
    redrive.run(|_| {}).await.unwrap()
}

async fn count(connection: &mut PgConnection, query: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(connection).await.unwrap()
}

async fn of_status(connection: &mut PgConnection, status: LetterStatus) -> i64 {
    let query = "SELECT count(*) FROM dead_letters WHERE status = $1";
    sqlx::query_scalar(query).bind(status.as_str()).fetch_one(connection).await.unwrap()
}

/// Everything in the tables of sessions and events, with versions and times.
async fn dump(connection: &mut PgConnection) -> BTreeMap<&'static str, Vec<String>> {
    let mut dump = BTreeMap::new();
    for table in ["sessions", "prompts", "tool_executions", "lifecycle_events", "transitions", "checkpoints"] {
        let query = format!("SELECT t::text FROM {table} t ORDER BY 1");
        let rows = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut *connection).await.unwrap();
        dump.insert(table, rows);
    }
    dump
}

/// The tables are those of a run without the fault; of the dead letters, those that are still open.
async fn assert_as_without_the_fault(deployment: &Deployment, sent: &[GeneratedRecord]) {
    deployment.connect().await.execute("DELETE FROM dead_letters WHERE status = 'redriven'").await.unwrap();
    assert_tables_equal(deployment, &Expected::of(sent)).await;
}

/// The measure of the whole: a thousand records that an earlier configuration broke.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_accepted_later_give_the_tables_of_a_run_without_the_fault() {
    let sent = records(6_000);
    let deployment = drained_with_fault(&sent, 1_000).await;
    let mut connection = deployment.connect().await;
    let letters = of_status(&mut connection, LetterStatus::Open).await;
    let bad = i64::try_from(Expected::of(&sent).dead_letters.len()).unwrap();
    assert!(letters - bad >= 900 && bad > 0, "{letters} dead letters, {bad} of them for good");

    let would = run_json(&deployment, &["redrive", "--dry-run"]);
    assert_eq!(would["reasons"]["too_large"]["would be accepted"], letters - bad, "{would}");
    assert_eq!(of_status(&mut connection, LetterStatus::Open).await, letters, "a dry run changes nothing");

    let report = run_json(&deployment, &["redrive", "--yes"]);
    let number = |name: &str| report[name].as_i64().unwrap();
    assert_eq!(number("selected"), letters, "{report}");
    assert_eq!(number("applied") + number("duplicates"), letters - bad, "{report}");
    let still: i64 = report["still_refused"].as_object().unwrap().values().map(|count| count.as_i64().unwrap()).sum();
    assert_eq!(still, bad, "{report}");
    let attempts = count(&mut connection, "SELECT count(*) FROM dead_letters WHERE attempts = 1").await;
    assert_eq!(attempts, letters, "each was tried once");
    assert_eq!(count(&mut connection, "SELECT count(*) FROM dead_letters").await, letters, "none became another one");

    let before = dump(&mut connection).await;
    let again = redrive(&deployment).await;
    assert_eq!((again.selected, again.still_refused()), (bad as u64, bad as u64));
    assert_eq!(dump(&mut connection).await, before, "redriven twice");
    connection.execute("UPDATE dead_letters SET status = 'open'").await.unwrap();
    let all_again = redrive(&deployment).await;
    assert_eq!((all_again.totals.applied, all_again.totals.duplicates), (0, (letters - bad) as u64));
    assert_eq!(dump(&mut connection).await, before, "all letters once more");

    assert_as_without_the_fault(&deployment, &sent).await;
}

/// A lock on a letter in the middle, until it is dropped.
async fn lock_a_letter(connection: &mut PgConnection, position: i64) -> sqlx::Transaction<'_, sqlx::Postgres> {
    let mut transaction = connection.begin().await.unwrap();
    let lock =
        "SELECT FROM dead_letters WHERE id = (SELECT id FROM dead_letters ORDER BY id OFFSET $1 LIMIT 1) FOR UPDATE";
    sqlx::query(lock).bind(position).execute(&mut *transaction).await.unwrap();
    transaction
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_is_killed_is_gone_on_with_by_the_next() {
    let sent = records(4_000);
    let deployment = drained_with_fault(&sent, 1_000).await;
    let (mut observer, mut other) = (deployment.connect().await, deployment.connect().await);
    let lock = lock_a_letter(&mut other, 500).await;
    let mut instance = Instance::start(&deployment, &["dead-letters", "redrive", "--yes"]);
    until_batches_wait(&mut observer, 1, None).await;
    instance.kill();
    lock.rollback().await.unwrap();
    let redriven = of_status(&mut observer, LetterStatus::Redriven).await;
    assert!(redriven > 0 && of_status(&mut observer, LetterStatus::Open).await > 400, "{redriven} were redriven");

    // A future that is dropped between read and commit leaves nothing either.
    let lock = lock_a_letter(&mut other, 700).await;
    tokio::select! {
        _ = redrive(&deployment) => panic!("it went on without the lock"),
        () = until_batches_wait(&mut observer, 1, None) => {}
    }
    lock.rollback().await.unwrap();

    let rest = redrive(&deployment).await;
    assert!(rest.totals.applied > 0);
    let twice = "SELECT count(*) FROM dead_letters WHERE status = 'redriven' AND attempts <> 1";
    assert_eq!(count(&mut observer, twice).await, 0);
    assert_as_without_the_fault(&deployment, &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_redrive_the_same_letters_at_once_one_counts_them() {
    let sent = records(3_000);
    let mut deployment = drained_with_fault(&sent, 500).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "100000");
    let (mut observer, mut other) = (deployment.connect().await, deployment.connect().await);
    let bad = Expected::of(&sent).dead_letters.len() as u64;
    let letters = of_status(&mut observer, LetterStatus::Open).await as u64;
    let lock = lock_a_letter(&mut other, 0).await;
    let meet = async {
        until_batches_wait(&mut observer, 2, None).await;
        lock.rollback().await.unwrap();
    };
    let (a, b, ()) = tokio::join!(redrive(&deployment), redrive(&deployment), meet);
    let taken = |redriven: &Redriven| redriven.totals.applied + redriven.totals.duplicates;
    assert_eq!(taken(&a) + taken(&b), letters - bad, "{a:?} {b:?}");
    assert_eq!(a.settled_elsewhere + b.settled_elsewhere, letters, "{a:?} {b:?}");
    let other_than_once = "SELECT count(*) FROM dead_letters WHERE attempts <> 1";
    assert_eq!(count(&mut observer, other_than_once).await, 0);
    assert_as_without_the_fault(&deployment, &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_redriven_while_the_service_writes_the_same_sessions() {
    let sent = records(6_000);
    let (before, after) = sent.split_at(3_000);
    let mut deployment = drained_with_fault(before, 1_000).await;
    deployment.send(after).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "50");
    let (totals, redriven) = tokio::join!(deployment.drain(), redrive(&deployment));
    assert!(totals.applied > 0 && redriven.totals.applied > 0);
    assert_as_without_the_fault(&deployment, &sent).await;
}

/// The ids of the good prompts that were sent in an envelope.
fn prompts(sent: &[GeneratedRecord]) -> Vec<String> {
    let good = sent.iter().filter(|record| record.intended.is_none());
    let values = good.map(|record| serde_json::from_slice::<Value>(record.value.as_ref().unwrap()).unwrap());
    values.filter_map(|value| Some(value["payload"]["prompt_id"].as_str()?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_postgres_refuses_stays_open_as_unstorable_and_the_others_are_taken() {
    let sent = records(2_000);
    let deployment = drained_with_fault(&sent, 300).await;
    let mut connection = deployment.connect().await;
    let stored: Vec<String> =
        sqlx::query_scalar("SELECT prompt_id::text FROM prompts").fetch_all(&mut connection).await.unwrap();
    let prompt_id = prompts(&sent).into_iter().rfind(|prompt_id| !stored.contains(prompt_id)).unwrap();
    let refuse = format!("ALTER TABLE prompts ADD CONSTRAINT no CHECK (prompt_id <> '{prompt_id}') NOT VALID");
    connection.execute(AssertSqlSafe(refuse)).await.unwrap();
    let redriven = redrive(&deployment).await;
    assert!(redriven.totals.applied > 200, "{redriven:?}");
    let unstorable: Vec<(String, Option<String>, i32, Value)> = sqlx::query_as(
        "SELECT detail, field_path, attempts, convert_from(value, 'UTF8')::jsonb FROM dead_letters
        WHERE status = 'open' AND reason = 'unstorable'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(!unstorable.is_empty());
    for (detail, field_path, attempts, value) in unstorable {
        assert_eq!((detail.as_str(), field_path), ("Postgres refuses this event's data (SQLSTATE 23514)", None));
        assert_eq!((attempts, value["payload"]["prompt_id"].as_str()), (1, Some(prompt_id.as_str())));
    }

    connection.execute("ALTER TABLE prompts DROP CONSTRAINT no").await.unwrap();
    assert!(redrive(&deployment).await.totals.applied > 0);
    assert_as_without_the_fault(&deployment, &sent).await;
}

/// Three letters: one that will be taken, and two that won't.
async fn three_letters() -> Deployment {
    let mut deployment = Deployment::new(1).await;
    let mut broken = tool("s", 3, "2026-03-01T09:00:03Z", "Bash");
    let value = String::from_utf8(broken.value.unwrap()).unwrap();
    let secret = "\"summary\":\"curl -H 'x: token=sk-aaaaaaaaaaaaaaaaaaaaaaaaaa' \u{9b}31m\",\"duration_ms\":-5,";
    broken.value = Some(value.replacen("\"payload\":{", &format!("\"payload\":{{{secret}"), 1).into_bytes());
    broken.headers = vec![("authorization-token".to_owned(), Some(b"hunter2".to_vec()))];
    let unknown = record(EventKind::Prompt, "s", 4, "2026-03-01T09:00:04Z", json!({}));
    let unknown = GeneratedRecord { value: Some(b"{\"event_type\":\"hook.other\"}".to_vec()), ..unknown };
    let far = prompt("s", 2, "2026-03-01T09:00:01Z");
    let far = GeneratedRecord { timestamp_millis: 1_700_000_000_000, ..far };
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z"), broken, unknown, far]).await;
    deployment.drain().await;
    deployment.set("SESSIONFOLD_AGGREGATOR__FUTURE_TOLERANCE", "87600h");
    deployment
}

fn ids(listed: &Value) -> Vec<String> {
    let letters = listed["dead_letters"].as_array().unwrap();
    letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_from_the_youngest_on_and_page_by_page() {
    let deployment = three_letters().await;
    let all = ids(&run_json(&deployment, &["list"]));
    assert_eq!(all.len(), 3);
    assert!(all.is_sorted_by(|a, b| a > b), "{all:?}");
    let first = run_json(&deployment, &["list", "--limit", "2"]);
    assert_eq!((ids(&first).as_slice(), first["next"].as_str()), (&all[..2], Some(all[1].as_str())));
    let second = run_json(&deployment, &["list", "--limit", "2", "--after", &all[1]]);
    assert_eq!((ids(&second).as_slice(), &second["next"]), (&all[2..], &Value::Null));

    let listed = |arguments: &[&str]| ids(&run_json(&deployment, &[&["list"], arguments].concat())).len();
    assert_eq!(listed(&["--reason", "schema", "--reason", "unknown_event_type"]), 2);
    assert_eq!(listed(&["--topic", deployment.topic(EventKind::Tool), "--partition", "0"]), 1);
    assert_eq!(listed(&["--partition", "1"]), 0);
    assert_eq!(listed(&["--until", "2026-01-01T00:00:00Z"]), 0);
    assert_eq!(listed(&["--since", "2026-01-01T00:00:00Z", "--status", "open"]), 3);
    assert_eq!(listed(&["--id", &all[0], "--id", &all[2]]), 2);
    let text = run(&deployment, &["list"]);
    assert!(text.contains("payload.duration_ms: expected an integer"), "{text}");
    assert!(text.contains("3 dead letters (future_timestamp 1, schema 1, unknown_event_type 1)"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_shown_without_its_secrets_and_with_the_member_at_fault_marked() {
    let deployment = three_letters().await;
    let id = ids(&run_json(&deployment, &["list", "--reason", "schema"])).remove(0);
    let shown = run(&deployment, &["show", &id]);
    assert!(shown.contains("\n→     \"duration_ms\": -5,\n"), "{shown}");
    assert_eq!(shown.matches('→').count(), 1, "{shown}");
    assert!(shown.contains("authorization-token: ***REDACTED***"), "{shown}");
    assert!(shown.contains("\\u{9b}31m") && !shown.contains('\u{9b}'), "{shown}");
    assert!(shown.contains("token=***REDACTED***") && !shown.contains("sk-aaaa"), "{shown}");
    for hidden in [shown, run(&deployment, &["show", &id, "--json"])] {
        assert!(!hidden.contains("hunter2") && !hidden.contains("sk-aaaa"), "{hidden}");
    }

    let raw = run_json(&deployment, &["show", &id, "--raw"]);
    let stored: Vec<u8> = sqlx::query_scalar("SELECT value FROM dead_letters WHERE reason = 'schema'")
        .fetch_one(&mut deployment.connect().await)
        .await
        .unwrap();
    assert_eq!(raw["value"].as_str().unwrap().as_bytes(), stored);
    assert_eq!(raw["headers"], json!([{"key": "authorization-token", "value": "hunter2"}]));
    let nowhere = program::run(&deployment, &["dead-letters", "show", "00000000-0000-0000-0000-000000000000"]);
    assert_eq!(nowhere.status.code(), Some(1), "{}", text(&nowhere));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_unasked_and_what_was_discarded_is_taken_back() {
    let deployment = three_letters().await;
    let mut connection = deployment.connect().await;
    for command in ["redrive", "discard"] {
        let output = program::run(&deployment, &["dead-letters", command]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("3 dead letters"), "{}", text(&output));
    }
    assert_eq!(of_status(&mut connection, LetterStatus::Open).await, 3);

    let discard = &["discard", "--reason", "unknown_event_type", "--yes"];
    assert_eq!(run_json(&deployment, discard)["discarded"], 1);
    assert_eq!(run_json(&deployment, discard)["selected"], 0);
    assert_eq!(of_status(&mut connection, LetterStatus::Discarded).await, 1);
    // What is discarded isn't redriven.
    assert_eq!(redrive(&deployment).await.selected, 2);
    assert_eq!(run_json(&deployment, &["discard", "--undo", "--yes"])["opened"], 1);
    assert_eq!(of_status(&mut connection, LetterStatus::Discarded).await, 0);
    assert_eq!(of_status(&mut connection, LetterStatus::Open).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_was_tried_often_enough_is_passed_over() {
    let deployment = three_letters().await;
    let first = run_json(&deployment, &["redrive", "--yes", "--max-attempts", "2"]);
    assert_eq!((&first["selected"], &first["applied"]), (&json!(3), &json!(1)), "{first}");
    let second = run_json(&deployment, &["redrive", "--yes", "--max-attempts", "2"]);
    assert_eq!((&second["passed_over"], &second["still_refused"]["schema"]), (&json!(0), &json!(1)), "{second}");
    let third = run_json(&deployment, &["redrive", "--yes", "--max-attempts", "2"]);
    assert_eq!((&third["selected"], &third["passed_over"]), (&json!(2), &json!(2)), "{third}");
    let mut connection = deployment.connect().await;
    assert_eq!(count(&mut connection, "SELECT max(attempts)::bigint FROM dead_letters").await, 2);
    let dry = run_json(&deployment, &["redrive", "--dry-run", "--max-attempts", "2"]);
    assert_eq!(dry["reasons"]["schema"], json!({"passed over": 1}));
}

/// A kind to ignore is counted and skipped, as in `run`.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_kind_that_is_ignored_since_is_settled() {
    let mut deployment = three_letters().await;
    deployment.set("SESSIONFOLD_EVENTS__IGNORE", "hook.other");
    let report = run_json(&deployment, &["redrive", "--yes", "--reason", "unknown_event_type"]);
    assert_eq!((&report["selected"], &report["ignored"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(of_status(&mut deployment.connect().await, LetterStatus::Redriven).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_reference_aggregator_rejected_is_judged_by_it_again() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_AGGREGATOR__KIND", "reference");
    deployment.set("SESSIONFOLD_AGGREGATOR__KEEP_REJECTED", "true");
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z"), started("s", 2, "2026-03-01T09:00:01Z")]).await;
    assert!(program::run(&deployment, &["run", "--drain"]).status.success());
    let again = run_json(&deployment, &["redrive", "--yes"]);
    assert_eq!(again["still_refused"], json!({"rejected": 1}), "{again}");
    let mut connection = deployment.connect().await;
    assert_eq!(of_status(&mut connection, LetterStatus::Open).await, 1);
    // The session is gone, so the letter's start is its first.
    connection.execute("DELETE FROM sessions").await.unwrap();
    let taken = run_json(&deployment, &["redrive", "--yes"]);
    assert_eq!((&taken["applied"], &taken["still_refused"]), (&json!(1), &json!({})), "{taken}");
}
