//! The aggregators keep the laws, and the law kit finds those that don't.

use std::collections::HashMap;

use proptest::{prelude::*, strategy::ValueTree};
use serde::{Deserialize, Serialize};
use sessionfold::{
    event::{Body, Count, EndReason, Ended, Event, EventTime, Prompt, RedactedText, SessionId},
    fold::{Aggregator, AggregatorId, Convergent, Reference, Verdict},
    laws::{self, Config, Law, Violation},
};
use uuid::Uuid;

#[path = "shared/by_tool.rs"]
mod by_tool;
#[path = "../examples/failing_tools.rs"]
#[allow(dead_code, reason = "its `main` is not called here")]
mod failing_tools;

use by_tool::ByTool;

fn assert_kept(result: Result<(), Violation>) {
    if let Err(violation) = result {
        panic!("{violation}");
    }
}

#[test]
fn the_convergent_aggregator_keeps_the_laws_of_a_session() {
    assert_kept(laws::check_session(Convergent::default(), laws::events(), Config::default()));
}

#[test]
fn the_convergent_aggregator_keeps_the_laws_beside_itself() {
    assert_kept(laws::check(Convergent::default(), laws::events(), Config::default()));
}

#[test]
fn the_example_keeps_the_laws() {
    assert_kept(laws::check(failing_tools::FailingTools, laws::events(), Config::default()));
}

#[test]
fn an_aggregator_that_chooses_keys_keeps_the_laws() {
    assert_kept(laws::check(ByTool, laws::events(), Config::default()));
}

fn assert_two_in_two_orders(violation: &Violation) {
    assert_eq!(violation.law(), Law::Permutation, "{violation}");
    let (events, mut reversed) = (violation.events(), violation.events_otherwise());
    reversed.reverse();
    assert_eq!((events.len(), &events), (2, &reversed), "{violation}");
}

/// Prompts and ends. Those of one number are equal, so that nothing but an end can make the order matter.
fn prompts_and_ends() -> impl Strategy<Value = Event> {
    (any::<bool>(), 0..8_u8).prop_map(|(is_end, number)| {
        let id = Uuid::from_u128(number.into());
        let zero = Count::new(0).unwrap();
        let body = if is_end {
            Body::Ended(Ended { reason: EndReason::Clear, duration_seconds: None, tools_used_count: zero })
        } else {
            let preview = RedactedText::of("");
            Body::Prompt(Prompt { prompt_id: id, prompt_preview: preview, prompt_length: zero, detected_intent: None })
        };
        Event {
            session_id: SessionId::parse("s").unwrap(),
            entity_id: Uuid::nil(),
            correlation_id: Uuid::nil(),
            causation_id: id,
            emitted_at: EventTime::parse(&format!("2026-03-01T09:00:0{number}Z")).unwrap(),
            task_id: None,
            action_description: RedactedText::of(""),
            body,
        }
    })
}

#[test]
fn the_reference_aggregator_breaks_permutation_by_an_end_and_something_else_in_two_orders() {
    let violation =
        laws::check_session(Reference::default(), prompts_and_ends(), Config::with_cases(10_000)).unwrap_err();
    assert_two_in_two_orders(&violation);
    assert!(violation.events().iter().any(|event| matches!(event.body, Body::Ended(_))), "{violation}");
    let shown = violation.to_string();
    for expected in ["law of permutation", "s  ended", "session s in one batch:", "session s otherwise:", "state."] {
        assert!(shown.contains(expected), "{expected} is not in:\n{shown}");
    }
}

#[test]
fn the_reference_aggregator_breaks_permutation_by_two_of_the_ready_made_events() {
    let violation = laws::check_session(Reference::default(), laws::events(), Config::with_cases(10_000)).unwrap_err();
    assert_two_in_two_orders(&violation);
}

/// An aggregator that is a function of the state and the event.
#[derive(Clone)]
struct Plain<S>(fn(&mut S, &Event));

impl<S> Aggregator for Plain<S>
where
    S: Clone + Default + Serialize + serde::de::DeserializeOwned + Send + Sync + Unpin + 'static,
{
    type State = S;

    fn id(&self) -> AggregatorId {
        const { AggregatorId::new("plain", 1) }
    }

    fn apply(&self, state: &mut S, event: &Event) -> Verdict {
        (self.0)(state, event);
        Verdict::Applied
    }
}

fn violation_of<S>(apply: fn(&mut S, &Event)) -> Violation
where
    S: Clone + Default + Serialize + serde::de::DeserializeOwned + Send + Sync + Unpin + 'static,
{
    laws::check(Plain(apply), laws::events(), Config::with_cases(10_000)).unwrap_err()
}

#[test]
fn an_aggregator_that_keeps_what_came_last_breaks_permutation() {
    assert_two_in_two_orders(&violation_of::<Option<Uuid>>(|state, event| *state = Some(event.correlation_id)));
}

/// A sum that isn't stored.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Forgetful {
    shown: u64,
    #[serde(skip)]
    hidden: u64,
}

#[test]
fn an_aggregator_whose_state_loses_something_in_json_breaks_serialisation() {
    let violation = violation_of::<Forgetful>(|state, _| {
        state.hidden += 1;
        state.shown = state.hidden;
    });
    assert_eq!((violation.law(), violation.events().len()), (Law::Serialisation, 2), "{violation}");
}

#[test]
fn an_aggregator_whose_state_is_no_json_breaks_serialisation() {
    let violation = violation_of::<HashMap<(u8, u8), u8>>(|state, _| {
        state.insert((0, 0), 0);
    });
    assert_eq!((violation.law(), violation.events().len()), (Law::Serialisation, 1));
    assert!(violation.to_string().contains("key must be a string"), "{violation}");
}

#[test]
fn an_aggregator_that_panics_is_shown_with_the_event_that_it_panics_at() {
    let violation = violation_of::<u8>(|_, event| {
        assert!(!matches!(event.body, Body::Ended(_)), "ends are not thought of");
    });
    assert!(matches!(violation.events()[..], [Event { body: Body::Ended(_), .. }]), "{violation}");
    assert!(violation.to_string().contains("ends are not thought of"), "{violation}");
}

#[test]
fn the_ready_made_events_have_versions_that_compete_and_times_that_tie() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let sample = proptest::collection::vec(laws::events(), 500).new_tree(&mut runner).unwrap().current();
    let mut by_key: HashMap<_, Vec<Event>> = HashMap::new();
    for event in sample {
        by_key.entry((event.session_id.clone(), event.key())).or_default().push(event);
    }
    let has = |differ: fn(&Event, &Event) -> bool| {
        by_key.values().any(|versions| versions.iter().any(|version| differ(version, &versions[0])))
    };
    assert!(has(|a, b| a.emitted_at != b.emitted_at));
    assert!(has(|a, b| a.emitted_at == b.emitted_at && a.causation_id != b.causation_id));
    assert!(has(|a, b| a.emitted_at == b.emitted_at && a.causation_id == b.causation_id && a != b));
}
