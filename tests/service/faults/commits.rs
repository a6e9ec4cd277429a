//! Commits that are refused, run into others, or lose their answer.

use serde_json::json;
use sessionfold::{
    event::EventKind,
    generate::{GeneratedRecord, Generator, Shape},
    pipeline::Totals,
    service::open_store,
    store::{Store, TransactionStatistics},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    convergence::sent_three_times,
    deployment::{Deployment, drain_into},
    expected::Expected,
    guarantees::records,
    locks::until_batches_wait,
    program::run,
    proxy::{Cut, Proxy},
    records::{prompt, record},
    tables::{assert_tables_equal, forget_second_letters},
};

/// The transactions of batches.
fn commits_of(store: &Store) -> TransactionStatistics {
    store.statistics().into_iter().find(|(name, _)| *name == "commit_batch").unwrap().1
}

/// What was sent is in the tables, each event counted once, however often it was tried.
async fn assert_counted_once(deployment: &Deployment, sent: &[GeneratedRecord], totals: &Totals) {
    let expected = Expected::of(sent);
    assert_eq!(totals.applied, expected.distinct_events());
    assert_eq!(totals.applied + totals.duplicates, expected.events);
    assert_eq!(totals.records(), expected.records);
    assert_tables_equal(deployment, &expected).await;
}

/// Drains through a proxy that breaks the connection at every so many commits, in each of these ways in turn.
async fn drain_with_cuts(every: u64, cuts: &[Cut]) {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "250");
    // Checkpoints exist afterwards, so that all that writes is a batch.
    let first = deployment.drain().await;
    assert_eq!(first.records(), 0);
    let (_, url) = deployment.settings.iter().find(|(name, _)| name == "SESSIONFOLD_POSTGRES__URL").unwrap().clone();
    let proxy = Proxy::start(&url, every, cuts);
    deployment.set("SESSIONFOLD_POSTGRES__URL", &proxy.url(&url));
    let sent = sent_three_times(4_000, 51);
    deployment.send(&sent).await;

    let config = deployment.config();
    let store = open_store(&config);
    let totals = drain_into(&config, store.clone()).await;

    assert_counted_once(&deployment, &sent, &totals).await;
    let commits = commits_of(&store);
    let made = |cut| proxy.cuts(cut);
    let in_doubt = made(Cut::BeforeItArrives) + made(Cut::OnItsWay) + made(Cut::AfterItHappened);
    // A retry finds out what became of a commit by its checkpoint; those that happened are never done again.
    let found_done = totals.batches - commits.commits;
    println!(
        "connection broken at COMMIT, {cuts:?} at every {every}. commit: {} batches, {in_doubt} in doubt, {found_done} \
         of them had happened; {} applied, {} duplicates, as sent",
        totals.batches, totals.applied, totals.duplicates
    );
    assert!(in_doubt >= 10, "{in_doubt}");
    // Each in doubt failed once, and once more if it had happened. One on its way may have had its answer before the cut.
    let answered = (in_doubt + found_done).checked_sub(commits.failures);
    assert!(answered.is_some_and(|answered| answered <= made(Cut::OnItsWay)), "{answered:?} {commits:?}");
    let least = made(Cut::AfterItHappened);
    assert!((least..=least + made(Cut::OnItsWay)).contains(&found_done), "{found_done}");
    assert_eq!(totals.fences, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_never_arrive_happen_once() {
    drain_with_cuts(3, &[Cut::BeforeItArrives]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_whose_answers_are_lost_happen_once_even_if_that_is_every_one() {
    drain_with_cuts(1, &[Cut::AfterItHappened]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_race_with_the_question_what_became_of_them_happen_once() {
    drain_with_cuts(2, &[Cut::OnItsWay, Cut::AfterItHappened, Cut::BeforeItArrives]).await;
}

/// Good tool executions, each once.
fn tools(wanted: usize) -> Vec<GeneratedRecord> {
    let shape = Shape {
        records: 3 * wanted as u64,
        duplicate_share: 0.0,
        bad_share: 0.0,
        conflict_share: 0.0,
        bare_share: 0.0,
        ..Shape::default()
    };
    let tools: Vec<_> = Generator::new(shape).filter(|record| record.kind == EventKind::Tool).take(wanted).collect();
    assert_eq!(tools.len(), wanted);
    tools
}

/// Refuses two of three tries with 40P01 and 40001 in turn, and sixteen in a row; counts the tries in `tries`, which no
/// rollback sets back.
const REFUSE: &str = "CREATE SEQUENCE tries;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        try bigint := nextval('sessionfold.tries');
    BEGIN
        IF try % 3 = 1 OR try BETWEEN 40 AND 55 THEN
            RAISE EXCEPTION 'made by a test' USING ERRCODE = '40P01';
        ELSIF try % 3 = 2 THEN
            RAISE EXCEPTION 'made by a test' USING ERRCODE = '40001';
        END IF;
        RETURN NULL;
    END $$;";

async fn drain_with_refusals(when: &str, trigger: &'static str) {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "100");
    let mut connection = deployment.connect().await;
    connection.execute(REFUSE).await.unwrap();
    connection.execute(trigger).await.unwrap();
    let sent = tools(4_000);
    deployment.send(&sent).await;

    // One topic of one partition, so that the trigger fires once a try.
    let config = deployment.config_of_topic(EventKind::Tool);
    let store = open_store(&config);
    let totals = drain_into(&config, store.clone()).await;

    assert_counted_once(&deployment, &sent, &totals).await;
    let commits = commits_of(&store);
    let tries: i64 = sqlx::query_scalar("SELECT last_value FROM tries").fetch_one(&mut connection).await.unwrap();
    println!(
        "40001 and 40P01 {when}: {} batches, {tries} tries, {} retried at once, {} after more than 8 in a row",
        totals.batches, commits.retries, commits.failures
    );
    assert_eq!(commits.commits + commits.retries + commits.failures, tries.unsigned_abs(), "attempts are measured");
    assert_eq!(commits.commits, totals.batches);
    assert!(commits.retries > totals.batches && commits.failures > 0, "{commits:?}");
    assert_eq!(store.breaker().openings, 0, "Postgres answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn serialization_failures_and_deadlocks_within_a_transaction_are_retried() {
    let trigger = "CREATE TRIGGER refuse AFTER UPDATE ON checkpoints EXECUTE FUNCTION refuse()";
    drain_with_refusals("within the transaction", trigger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serialization_failures_and_deadlocks_at_commit_are_retried() {
    let trigger = "CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON checkpoints DEFERRABLE INITIALLY DEFERRED
                   FOR EACH ROW EXECUTE FUNCTION refuse()";
    drain_with_refusals("at COMMIT", trigger).await;
}

/// Takes locks in an order that ends in a deadlock with the batch of this group that comes first. It's the batch that
/// Postgres breaks off, since the operator would wait much longer before looking for a deadlock.
async fn deadlock_with(operator: &mut PgConnection, observer: &mut PgConnection, group_id: &str) {
    operator.execute("SET deadlock_timeout = '10s'").await.unwrap();
    let mut transaction = operator.begin().await.unwrap();
    transaction.execute("LOCK TABLE sessions IN EXCLUSIVE MODE").await.unwrap();
    until_batches_wait(observer, 1, Some(group_id)).await;
    let checkpoints = "SELECT FROM checkpoints WHERE group_id = $1 FOR UPDATE";
    sqlx::query(checkpoints).bind(group_id).execute(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_groups_and_an_operator_who_locks_in_the_other_order_lose_no_update() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "200");
    // A second lane would come to wait after the operator, too late to notice that it is in the way.
    deployment.set("SESSIONFOLD_BATCH__LANES", "1");
    let sent = records(5_000, 52);
    deployment.send(&sent).await;
    let (_, url) = deployment.settings.iter().find(|(name, _)| name == "SESSIONFOLD_POSTGRES__URL").unwrap().clone();
    let groups = [deployment.group_id.clone(), format!("{}-b", deployment.group_id), "backfill".to_owned()];
    let configs = groups.clone().map(|group| {
        deployment.set("SESSIONFOLD_KAFKA__GROUP_ID", &group);
        deployment.set("SESSIONFOLD_POSTGRES__URL", &format!("{url}?application_name={group}"));
        deployment.config()
    });
    let stores = configs.each_ref().map(open_store);
    let (mut operator, mut observer) = (deployment.connect().await, deployment.connect().await);
    let deadlocks = async {
        for group in groups.iter().chain(&groups) {
            deadlock_with(&mut operator, &mut observer, group).await;
        }
    };
    let [a, b, c] = [0, 1, 2].map(|index| drain_into(&configs[index], stores[index].clone()));
    let (a, b, c, ()) = tokio::join!(a, b, c, deadlocks);

    let mut expected = Expected::of(&sent);
    let conflicts = a.conflicts + b.conflicts + c.conflicts;
    let retries: Vec<u64> = stores.iter().map(|store| commits_of(store).retries).collect();
    println!(
        "three groups on the same sessions: {} applied ({}, {}, {}), {conflicts} conflicts, deadlocks retried {retries:?}",
        expected.distinct_events(),
        a.applied,
        b.applied,
        c.applied
    );
    assert!(conflicts > 0 && retries.iter().all(|retries| *retries >= 2), "{conflicts} {retries:?}");
    assert_eq!(a.applied + b.applied + c.applied, expected.distinct_events());
    for totals in [a, b, c] {
        assert_eq!(totals.records(), expected.records);
    }
    // Each group has its own checkpoints, and sets bad records aside for itself.
    expected.records *= 3;
    forget_second_letters(&deployment).await;
    assert_tables_equal(&deployment, &expected).await;
}

/// How many events the batch has in which some are refused.
const BATCH: usize = 5_000;

fn id_of(record: &GeneratedRecord) -> String {
    let value: serde_json::Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
    value["payload"]["tool_execution_id"].as_str().unwrap().to_owned()
}

/// Drains one batch of which Postgres refuses the events at these places; returns the transactions that it took.
async fn drain_with_refused(places: &[usize]) -> u64 {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", &BATCH.to_string());
    deployment.set("SESSIONFOLD_BATCH__MAX_WAIT", "10s");
    let sent = tools(BATCH);
    let refused: Vec<String> = places.iter().map(|place| id_of(&sent[*place])).collect();
    let mut connection = deployment.connect().await;
    let check = format!("CHECK (tool_execution_id NOT IN ('{}'))", refused.join("', '"));
    let constraint = format!("ALTER TABLE tool_executions ADD CONSTRAINT no_such_tool {check}");
    connection.execute(AssertSqlSafe(constraint)).await.unwrap();
    deployment.send(&sent).await;

    let config = deployment.config_of_topic(EventKind::Tool);
    let store = open_store(&config);
    let totals = drain_into(&config, store.clone()).await;

    assert_eq!(totals.records(), BATCH as u64);
    assert_eq!((totals.applied, totals.dead_letters()), ((BATCH - places.len()) as u64, places.len() as u64));
    assert_only_these_are_dead(&deployment, &mut connection, &sent, places).await;
    let commits = commits_of(&store);
    assert_eq!(commits.retries, 0);
    commits.commits + commits.failures
}

/// Everything else is there, as if those records had never been sent.
async fn assert_only_these_are_dead(
    deployment: &Deployment,
    connection: &mut PgConnection,
    sent: &[GeneratedRecord],
    places: &[usize],
) {
    let others = sent.iter().enumerate().filter(|(place, _)| !places.contains(place)).map(|(_, record)| record);
    let mut expected = Expected::of(others);
    expected.records = sent.len() as u64;
    expected.dead_letters = places.iter().map(|place| ("unstorable".to_owned(), sent[*place].value.clone())).collect();
    expected.dead_letters.sort();
    assert_tables_equal(deployment, &expected).await;
    let details: Vec<String> =
        sqlx::query_scalar("SELECT detail FROM dead_letters").fetch_all(connection).await.unwrap();
    for detail in details {
        assert!(detail.contains("23514"), "{detail}");
        assert!(places.iter().all(|place| !detail.contains(&id_of(&sent[*place]))), "the data is not quoted: {detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_postgres_refuses_is_found_by_halving_and_the_rest_is_committed() {
    // 2·log2(5,000), rounded down.
    let most = 24;
    let [first, middle, last] = [[0], [BATCH / 2], [BATCH - 1]];
    let (at_first, at_middle, at_last) =
        tokio::join!(drain_with_refused(&first), drain_with_refused(&middle), drain_with_refused(&last));
    println!("refused in a batch of {BATCH}: {at_first} transactions (first), {at_middle} (middle), {at_last} (last)");
    assert!([at_first, at_middle, at_last].iter().all(|transactions| *transactions <= most));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_events_that_postgres_refuses_are_found_one_after_the_other() {
    let (far, near) = tokio::join!(drain_with_refused(&[700, 4_300]), drain_with_refused(&[2_499, 2_500]));
    println!("two refused in a batch of {BATCH}: {far} transactions (far apart), {near} (side by side)");
    assert!(far <= 2 * 24 && near <= 2 * 24);
}

/// A trigger that raises errors of any class, and quotes the row in them: first as if Postgres were full, then for one
/// event whenever it comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_trigger_refuses_in_a_class_of_its_own_stops_nothing_and_is_not_quoted() {
    let deployment = Deployment::new(1).await;
    let mut connection = deployment.connect().await;
    connection
        .execute(
            "CREATE SEQUENCE tries;
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RAISE WARNING 'warned of %', NEW.prompt_preview;
                 IF nextval('tries') = 1 THEN
                     RAISE EXCEPTION 'no room for %', NEW.prompt_preview USING ERRCODE = '53100';
                 END IF;
                 IF NEW.prompt_preview = 'PLANTED' THEN
                     RAISE EXCEPTION 'bad %', NEW.prompt_preview USING ERRCODE = '45000';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON prompts FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    let planted = json!({"prompt_preview": "PLANTED", "prompt_length": 7});
    let sent = [
        prompt("s", 1, "2026-03-01T09:00:00Z"),
        record(EventKind::Prompt, "s", 2, "2026-03-01T09:00:01Z", planted),
        prompt("s", 3, "2026-03-01T09:00:02Z"),
    ];
    deployment.send(&sent).await;

    let output = run(&deployment, &["run", "--drain"]);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    assert!(log.contains("raised an error (SQLSTATE 53100)") && log.contains("(SQLSTATE 45000)"), "{log}");
    assert!(!log.contains("PLANTED") && !log.contains("do it"), "{log}");
    let mut expected = Expected::of([&sent[0], &sent[2]]);
    expected.records = 3;
    expected.dead_letters = vec![("unstorable".to_owned(), sent[1].value.clone())];
    assert_tables_equal(&deployment, &expected).await;
}
