//! Aggregators beside the sessions', through Kafka and Postgres: their states are those of a fold in memory.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Value, json};
use sessionfold::{
    event::EventKind,
    fold::{Aggregator, Aggregators, Convergent, SideAggregators, Verdict},
    generate::{GeneratedRecord, Generator, Shape},
    pipeline::Totals,
    service::{Service, convergent, open_store},
    stream::Until,
};
use sqlx::PgConnection;

use crate::{deployment::Deployment, expected::Expected};

#[path = "../shared/by_tool.rs"]
mod by_tool;
#[path = "../../examples/failing_tools.rs"]
#[allow(dead_code, reason = "its `main` is not called here")]
mod failing_tools;

use by_tool::ByTool;
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
    let execution = |id: u8, tool: &str, second: u8| {
        let id = format!("00000000-0000-0000-0000-0000000000{id:02}");
        let event = json!({"event_type": "hook.tool.executed", "payload": {
            "session_id": "s", "emitted_at": format!("2026-03-01T09:00:{second:02}Z"), "entity_id": id,
            "correlation_id": id, "causation_id": id, "tool_execution_id": id, "tool_name": tool}});
        GeneratedRecord {
            kind: EventKind::Tool,
            key: b"s".to_vec(),
            value: Some(event.to_string().into_bytes()),
            headers: Vec::new(),
            timestamp_millis: 4_000_000_000_000,
            intended: None,
        }
    };
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
