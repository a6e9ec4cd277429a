//! The aggregators keep the laws. That the law kit finds those that don't is tested beside it.

use std::collections::HashMap;

use proptest::strategy::{Strategy, ValueTree};
use sessionfold::{
    event::Event,
    fold::Convergent,
    laws::{self, Config, Violation},
};

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

#[test]
fn the_ready_made_events_have_versions_that_compete_and_times_that_tie() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let sample = proptest::collection::vec(laws::events(), 500).new_tree(&mut runner).unwrap().current();
    let mut by_key: HashMap<_, Vec<Event>> = HashMap::new();
    for event in sample {
        by_key.entry((event.session_id.clone(), event.key())).or_default().push(event);
    }
    let has = |differ: fn(&Event, &Event) -> bool| {
        by_key.values().any(|versions| versions.iter().any(|one| versions.iter().any(|other| differ(one, other))))
    };
    assert!(has(|a, b| a.emitted_at != b.emitted_at));
    assert!(has(|a, b| a.emitted_at == b.emitted_at && a.causation_id != b.causation_id));
    assert!(has(|a, b| a.emitted_at == b.emitted_at && a.causation_id == b.causation_id && a != b));
}
