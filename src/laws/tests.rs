//! The laws find what breaks them, and show it with the fewest events.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use uuid::Uuid;

use super::{
    delivery::{Delivery, Resume},
    subject::{Own, Results, Side, Subject},
    *,
};
use crate::{
    event::{Body, Count, EndReason, Ended, EventTime, Prompt, RedactedText, SessionId, Tool},
    fold::{AggregatorId, Reference, Verdict},
};

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
    let violation = check_session(Reference::default(), prompts_and_ends(), Config::with_cases(10_000)).unwrap_err();
    assert_two_in_two_orders(&violation);
    assert!(violation.events().iter().any(|event| matches!(event.body, Body::Ended(_))), "{violation}");
    let shown = violation.to_string();
    for expected in ["law of permutation", "s  ended", "session s in one batch:", "session s otherwise:", "state."] {
        assert!(shown.contains(expected), "{expected} is not in:\n{shown}");
    }
}

#[test]
fn the_reference_aggregator_breaks_permutation_by_two_of_the_ready_made_events() {
    let violation = check_session(Reference::default(), events(), Config::with_cases(10_000)).unwrap_err();
    assert_two_in_two_orders(&violation);
}

/// An aggregator that is a function of the state and the event.
#[derive(Clone)]
struct Plain<S>(fn(&mut S, &Event));

impl<S> Aggregator for Plain<S>
where
    S: Clone + Default + Serialize + DeserializeOwned + Send + Sync + Unpin + 'static,
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

fn violation_of(aggregator: impl Aggregator + Clone) -> Violation {
    check(aggregator, events(), Config::with_cases(10_000)).unwrap_err()
}

const LAST: Plain<Option<Uuid>> = Plain(|state, event| *state = Some(event.causation_id));

#[test]
fn an_aggregator_that_keeps_what_came_last_breaks_permutation() {
    assert_two_in_two_orders(&violation_of(LAST));
}

/// A sum that isn't stored.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Forgetful {
    shown: u64,
    #[serde(skip)]
    hidden: u64,
}

const FORGETFUL: Plain<Forgetful> = Plain(|state, _| {
    state.hidden += 1;
    state.shown = state.hidden;
});

#[test]
fn an_aggregator_that_keeps_the_last_text_to_arrive_breaks_permutation() {
    let last_preview = Plain(|state: &mut String, event| {
        if let Body::Prompt(prompt) = &event.body {
            *state = prompt.prompt_preview.as_str().to_owned();
        }
    });
    assert_two_in_two_orders(&violation_of(last_preview));
}

/// Addition of fractions isn't associative: they are summed as whole milliseconds.
#[test]
fn an_aggregator_that_sums_fractions_breaks_permutation() {
    let seconds = Plain(|state: &mut f64, event| {
        if let Body::Tool(Tool { duration_ms: Some(duration), .. }) = &event.body {
            *state += duration.get() as f64 / 1_000.0;
        }
    });
    assert_eq!(violation_of(seconds).law(), Law::Permutation);
}

#[test]
fn an_aggregator_whose_state_loses_something_in_json_breaks_serialisation() {
    let violation = violation_of(FORGETFUL);
    assert_eq!((violation.law(), violation.events().len()), (Law::Serialisation, 2), "{violation}");
}

#[test]
fn an_aggregator_whose_state_is_no_json_breaks_serialisation() {
    let violation = violation_of(Plain::<HashMap<(u8, u8), u8>>(|state, _| {
        state.insert((0, 0), 0);
    }));
    assert_eq!((violation.law(), violation.events().len()), (Law::Serialisation, 1));
    assert!(violation.to_string().contains("key must be a string"), "{violation}");
}

#[test]
fn an_aggregator_that_panics_is_shown_with_the_event_that_it_panics_at() {
    let violation = violation_of(Plain::<u8>(|_, event| {
        assert!(!matches!(event.body, Body::Ended(_)), "ends are not thought of");
    }));
    assert!(matches!(violation.events()[..], [Event { body: Body::Ended(_), .. }]), "{violation}");
    assert!(violation.to_string().contains("ends are not thought of"), "{violation}");
}

/// One law alone, so that no other answers first.
fn check_one(law: Law, subject: &impl Subject) -> Result<(), Violation> {
    law::check_all(subject, &[law], &prompts_and_ends(), Config::with_cases(1_000))
}

/// A fold that takes as many events of a delivery as the function says, and whose result is their number.
struct Taking(fn(&Delivery) -> usize);

impl Subject for Taking {
    fn deliver(&self, delivery: &Delivery) -> Result<(u64, Results), NoJson> {
        let taken = self.0(delivery) as u64;
        Ok((taken, self.apply(delivery)?))
    }

    fn apply(&self, delivery: &Delivery) -> Result<Results, NoJson> {
        Ok(BTreeMap::from([("events".to_owned(), json!(self.0(delivery)))]))
    }
}

fn all(delivery: &Delivery) -> usize {
    delivery.events().count()
}

#[test]
fn a_fold_that_takes_copies_breaks_duplication_by_one_event() {
    let violation = check_one(Law::Duplication, &Taking(all)).unwrap_err();
    let event = violation.events()[0];
    assert_eq!((violation.events(), violation.events_otherwise()), (vec![event], vec![event; 2]), "{violation}");
}

#[test]
fn a_fold_that_remembers_one_event_breaks_duplication_by_a_copy_that_comes_after_another_event() {
    let changes = |delivery: &Delivery| {
        let mut events: Vec<&Event> = delivery.events().collect();
        events.dedup();
        events.len()
    };
    let violation = check_one(Law::Duplication, &Taking(changes)).unwrap_err();
    let [first, second] = violation.events()[..] else { panic!("{violation}") };
    assert_eq!(violation.events_otherwise(), [first, second, first], "{violation}");
}

#[test]
fn a_fold_that_takes_copies_breaks_counting_by_one_event() {
    let violation = check_one(Law::Counting, &Taking(all)).unwrap_err();
    let event = violation.events()[0];
    assert_eq!((violation.events(), violation.events_otherwise()), (vec![event], vec![event; 2]), "{violation}");
    assert!(violation.to_string().contains("2 of 1 distinct events count as applied"), "{violation}");
}

#[test]
fn a_fold_that_looks_for_copies_in_its_batch_only_breaks_counting_by_a_copy_in_the_next() {
    let distinct_in_batches = |delivery: &Delivery| {
        let distinct = |batch: &delivery::Batch| batch.events.iter().map(Event::key).collect::<HashSet<_>>().len();
        delivery.0.iter().map(distinct).sum()
    };
    let violation = check_one(Law::Counting, &Taking(distinct_in_batches)).unwrap_err();
    let [first, second] = &violation.otherwise.0[..] else { panic!("{violation}") };
    assert!(matches!(&second.events[..], [copy] if first.events.contains(copy)), "{violation}");
}

#[test]
fn an_aggregator_whose_state_loses_something_in_json_breaks_batching_by_two_events_in_two_batches() {
    let violation = check_one(Law::Batching, &Side::new(FORGETFUL)).unwrap_err();
    assert_one_after_the_other(&violation, Resume::Carry);
}

/// What breaks merging here breaks nothing where the states are carried on.
fn violation_of_merging_alone(subject: &impl Subject) -> Violation {
    if let Err(violation) = check_one(Law::Batching, subject) {
        panic!("{violation}");
    }
    check_one(Law::Merging, subject).unwrap_err()
}

#[test]
fn an_aggregator_that_keeps_what_came_last_breaks_merging_by_two_events_folded_again() {
    let violation = violation_of_merging_alone(&Side::new(LAST));
    assert_one_after_the_other(&violation, Resume::Refold);
}

#[test]
fn a_session_s_aggregator_that_depends_on_the_order_breaks_merging_by_two_events_folded_again() {
    let violation = violation_of_merging_alone(&Own::new(Reference::default()));
    assert_one_after_the_other(&violation, Resume::Refold);
}

/// Two events in the same order: in one batch, and each in its own.
fn assert_one_after_the_other(violation: &Violation, resume: Resume) {
    let [first, second] = violation.events()[..] else { panic!("{violation}") };
    let batches = violation.otherwise.0.iter().map(|batch| (batch.resume, &batch.events[..]));
    let expected = [(Resume::Carry, std::slice::from_ref(first)), (resume, std::slice::from_ref(second))];
    assert_eq!(batches.collect::<Vec<_>>(), expected, "{violation}");
}
