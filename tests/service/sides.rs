//! Aggregators beside the sessions', through Kafka and Postgres: their states are those of a fold in memory.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Value, json};
use sessionfold::{
    event::{Body, Event, EventKind},
    fold::{Aggregator, AggregatorId, Aggregators, Convergent, SideAggregators, Verdict},
    generate::{GeneratedRecord, Generator, Shape},
    pipeline::Totals,
    service::{Service, convergent, open_store},
    store::Selection,
    stream::Until,
    verify::{Report, Verification},
};
use sqlx::PgConnection;

use crate::{
    by_tool::ByTool,
    deployment::Deployment,
    expected::Expected,
    records::{record, tool},
};

#[path = "../../examples/failing_tools.rs"]
#[allow(dead_code, reason = "its `main` is not called here")]
mod failing_tools;

use failing_tools::FailingTools;

/// Aggregator, session and key.
type Keys = (String, String, String);

/// The states that a fold of the set makes, in memory.
fn fold_in_memory<A: Aggregator>(aggregator: &A, expected: &Expected) -> BTreeMap<Keys, Value> {
    let mut states: BTreeMap<Keys, A::State> = BTreeMap::new();
    for event in expected.stored_events() {
        let Some(key) = aggregator.key(&event).map(Cow::into_owned) else { continue };
        let keys = (aggregator.id().name().to_owned(), event.session_id.as_str().to_owned(), key);
        let mut state = states.get(&keys).cloned().unwrap_or_default();
        if aggregator.apply(&mut state, &event) == Verdict::Applied {
            states.insert(keys, state);
        }
    }
    states.into_iter().map(|(keys, state)| (keys, serde_json::to_value(state).unwrap())).collect()
}

async fn stored(connection: &mut PgConnection) -> BTreeMap<Keys, Value> {
    let rows: Vec<(String, String, String, Value)> =
        sqlx::query_as("SELECT aggregator, session_id, key, state FROM aggregates")
            .fetch_all(connection)
            .await
            .unwrap();
    rows.into_iter().map(|(aggregator, session, key, state)| ((aggregator, session, key), state)).collect()
}

async fn drain(deployment: &Deployment, sides: SideAggregators) -> Totals {
    let config = deployment.config();
    let aggregators = Aggregators { session: convergent(&config), sides };
    let service = Service::start(&config, open_store(&config), aggregators, Until::Drained).unwrap();
    service.run().await.unwrap()
}

fn records(records: u64, conflict_share: f64) -> Vec<GeneratedRecord> {
    Generator::new(Shape { records, bad_share: 0.0, conflict_share, ..Shape::default() }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_two_aggregators_beside_the_sessions_equal_a_fold_in_memory() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "300");
    let sent = records(6_000, 0.05);
    deployment.send(&sent).await;
    drain(&deployment, SideAggregators::new().with(FailingTools).with(ByTool)).await;

    let expected = Expected::of(&sent);
    let mut states = fold_in_memory(&FailingTools, &expected);
    states.extend(fold_in_memory(&ByTool, &expected));
    assert_eq!(stored(&mut deployment.connect().await).await, states);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_joins_later_takes_in_what_its_sessions_had_before() {
    let deployment = Deployment::new(1).await;
    let sent = records(4_000, 0.0);
    let (before, after) = sent.split_at(2_000);
    deployment.send(before).await;
    drain(&deployment, SideAggregators::new()).await;
    let aggregators = Aggregators { session: Convergent::default(), sides: SideAggregators::new().with(ByTool) };
    let incomplete = open_store(&deployment.config()).incomplete_aggregators(&aggregators).await.unwrap();
    assert_eq!(incomplete.iter().map(|found| found.wanted.as_str()).collect::<Vec<_>>(), ["convergent/1", "by_tool/1"]);

    deployment.send(after).await;
    drain(&deployment, SideAggregators::new().with(ByTool)).await;
    let mut connection = deployment.connect().await;
    let touched: Vec<String> = sqlx::query_scalar("SELECT session_id FROM sessions WHERE sides = '{by_tool/1}'")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let mut states = fold_in_memory(&ByTool, &Expected::of(&sent));
    states.retain(|(_, session, _), _| touched.contains(session));
    assert!(!states.is_empty());
    assert_eq!(stored(&mut connection).await, states);

    sqlx::query("DELETE FROM sessions").execute(&mut connection).await.unwrap();
    assert!(stored(&mut connection).await.is_empty(), "a session takes its states along");
}

/// Two versions of one execution in a batch, under two keys of which both are stored.
#[tokio::test(flavor = "multi_thread")]
async fn versions_of_an_event_that_belong_to_two_states_leave_both_right() {
    let deployment = Deployment::new(1).await;
    let execution = |id: u8, name: &str, second: u8| tool("s", id, &format!("2026-03-01T09:00:{second:02}Z"), name);
    let first = [execution(1, "Bash", 1), execution(2, "Read", 2)];
    let versions = [execution(3, "Read", 3), execution(3, "Bash", 4)];
    let more = [execution(4, "Bash", 5), execution(4, "Read", 6)];
    let mut sent = Vec::new();
    for batch in [first, versions, more] {
        deployment.send(&batch).await;
        drain(&deployment, SideAggregators::new().with(ByTool)).await;
        sent.extend(batch);
        let states = fold_in_memory(&ByTool, &Expected::of(&sent));
        assert_eq!(stored(&mut deployment.connect().await).await, states);
    }
}

/// A state for each working directory.
#[derive(Clone)]
struct ByDirectory;

impl Aggregator for ByDirectory {
    type State = u64;

    fn id(&self) -> AggregatorId {
        const { AggregatorId::new("by_directory", 1) }
    }

    fn key<'e>(&self, event: &'e Event) -> Option<Cow<'e, str>> {
        match &event.body {
            Body::Started(started) => Some(Cow::Borrowed(started.working_directory.as_str())),
            _ => None,
        }
    }

    fn apply(&self, state: &mut u64, _: &Event) -> Verdict {
        *state += 1;
        Verdict::Applied
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_longer_than_an_index_can_hold_costs_no_event() {
    let deployment = Deployment::new(1).await;
    // Random, since Postgres compresses.
    let directory: String = (0..300).map(|_| uuid::Uuid::now_v7().to_string()).collect();
    let fields = json!({"working_directory": directory, "hook_source": "startup"});
    let start = record(EventKind::Started, "s", 1, "2026-03-01T09:00:00Z", fields);
    deployment.send([&start]).await;
    deployment.drain().await;
    deployment.send([&tool("s", 2, "2026-03-01T09:00:01Z", "Bash")]).await;
    let totals = drain(&deployment, SideAggregators::new().with(ByDirectory)).await;
    assert_eq!((totals.applied, totals.dead_letters()), (1, 0));
    let states = stored(&mut deployment.connect().await).await;
    let [((_, _, key), state)] = &states.into_iter().collect::<Vec<_>>()[..] else { panic!("one state") };
    assert!(key.starts_with(&directory[..1_000]) && *state == 1, "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_wrote_makes_an_aggregator_incomplete_until_a_repair() {
    let deployment = Deployment::new(1).await;
    let store = open_store(&deployment.config());
    let with_side = Aggregators { session: Convergent::default(), sides: SideAggregators::new().with(ByTool) };
    let plain = Aggregators::new(Convergent::default());
    let incomplete = async |aggregators| {
        let found = store.incomplete_aggregators(aggregators).await.unwrap();
        found.into_iter().map(|found| found.wanted).collect::<Vec<_>>()
    };
    assert!(incomplete(&with_side).await.is_empty(), "nothing is stored");
    deployment.send(&records(1_000, 0.0)).await;
    drain(&deployment, with_side.sides.clone()).await;
    assert!(incomplete(&with_side).await.is_empty());

    assert!(incomplete(&plain).await.is_empty());
    assert_eq!(incomplete(&with_side).await, ["by_tool/1"]);

    let (selection, mut report) = (Selection::default(), Report::new(100));
    let verification = Verification { store: &store, aggregators: &with_side, selection: &selection };
    verification.repair(&mut report, |_| {}).await.unwrap();
    assert!(report.is_equal(), "the other program wrote nothing");
    assert!(incomplete(&with_side).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_deleted_and_surplus_states_are_named_and_repaired() {
    let deployment = Deployment::new(1).await;
    let sent = records(2_000, 0.0);
    deployment.send(&sent).await;
    let sides = SideAggregators::new().with(ByTool).with(FailingTools);
    drain(&deployment, sides.clone()).await;
    let mut connection = deployment.connect().await;
    for change in [
        "UPDATE aggregates SET state = jsonb_set(state, '{executions}', '4711') WHERE (session_id, aggregator, key) =
            (SELECT session_id, aggregator, key FROM aggregates WHERE aggregator = 'by_tool' ORDER BY 1, 3 LIMIT 1)",
        "DELETE FROM aggregates WHERE session_id =
            (SELECT max(session_id) FROM aggregates WHERE aggregator = 'failing_tools') AND aggregator = 'failing_tools'",
        "INSERT INTO aggregates SELECT session_id, 'by_tool', 'no such tool', '{}' FROM sessions ORDER BY 1 LIMIT 1",
    ] {
        assert_eq!(sqlx::query(change).execute(&mut connection).await.unwrap().rows_affected(), 1, "{change}");
    }
    let store = open_store(&deployment.config());
    let aggregators = Aggregators { session: Convergent::default(), sides };
    let selection = Selection::default();
    let verification = Verification { store: &store, aggregators: &aggregators, selection: &selection };
    let mut report = Report::new(100);
    verification.compare(&mut report, |_| {}).await.unwrap();
    let named = |what: &str| report.differences.iter().any(|found| found.field.starts_with(what));
    assert_eq!(report.difference_count, 3, "{report:?}");
    assert!(named("aggregates by_tool") && named("aggregates failing_tools") && named("aggregates by_tool 'no such"));

    let mut report = Report::new(100);
    verification.repair(&mut report, |_| {}).await.unwrap();
    assert!(!report.is_equal() && report.is_equal_now(), "{report:?}");
    let expected = Expected::of(&sent);
    let mut states = fold_in_memory(&FailingTools, &expected);
    states.extend(fold_in_memory(&ByTool, &expected));
    assert_eq!(stored(&mut connection).await, states);
}
