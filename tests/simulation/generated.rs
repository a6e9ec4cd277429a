//! Generated schedules, and how a failing one is made small and told.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use regex::Regex;
use sessionfold::fold::{Aggregators, Convergent};

use crate::{
    gate::Outcome,
    side,
    steps::{Step, schedule},
    world,
};

const SCHEDULES: u64 = 2_000;
/// How often a failing schedule is tried with less in it.
const MOST_TRIES: usize = 20_000;

fn number_from(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")),
        Err(_) => default,
    }
}

fn tree(seed: u64) -> impl ValueTree<Value = Vec<Step>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    schedule().new_tree(&mut runner).unwrap()
}

/// The smallest schedule found that still fails.
fn shrunk(mut tree: impl ValueTree<Value = Vec<Step>>, aggregators: &Aggregators<Convergent>) -> Vec<Step> {
    let mut smallest = tree.current();
    let mut more = tree.simplify();
    for _ in 0..MOST_TRIES {
        if !more {
            break;
        }
        let steps = tree.current();
        more = if world::run(&steps, aggregators).0.is_err() {
            smallest = steps;
            tree.simplify()
        } else {
            tree.complicate()
        };
    }
    smallest
}

fn run_all(test: &str, schedules: u64, aggregators: &Aggregators<Convergent>) {
    let first = number_from("SESSIONFOLD_SIMULATION_SEED", 0);
    for seed in first..first + number_from("SESSIONFOLD_SIMULATION_SCHEDULES", schedules) {
        let tree = tree(seed);
        if world::run(&tree.current(), aggregators).0.is_ok() {
            continue;
        }
        let steps = shrunk(tree, aggregators);
        let (result, trace) = world::run(&steps, aggregators);
        panic!(
            "{}\n\nafter {} schedules; the smallest found, step by step:\n\n{}\n\nas a test:\n\n{steps:?}\n\nrun it again:\n\n    \
             SESSIONFOLD_SIMULATION_SEED={seed} SESSIONFOLD_SIMULATION_SCHEDULES=1 \
             cargo test --test simulation {test}\n",
            result.unwrap_err(),
            seed - first + 1,
            trace.join("\n"),
        );
    }
}

#[test]
fn no_schedule_makes_the_tables_differ_from_what_the_checkpoints_passed() {
    let test = "no_schedule_makes_the_tables_differ_from_what_the_checkpoints_passed";
    run_all(test, SCHEDULES, &Aggregators::new(Convergent::default()));
}

#[test]
fn no_schedule_makes_an_aggregator_beside_the_sessions_differ() {
    let test = "no_schedule_makes_an_aggregator_beside_the_sessions_differ";
    run_all(test, SCHEDULES / 4, &side::aggregators());
}

#[test]
fn a_schedule_always_runs_alike() {
    for seed in 0..20 {
        let steps = tree(seed).current();
        let aggregators = side::aggregators();
        assert_eq!(world::run(&steps, &aggregators), world::run(&steps, &aggregators), "seed {seed}");
    }
}

/// A simulation in which nothing goes wrong would find nothing.
#[test]
fn the_schedules_get_everywhere() {
    let traces = (0..1_000).flat_map(|seed| world::run(&tree(seed).current(), &side::aggregators()).1);
    let traces = traces.collect::<Vec<_>>().join("\n");
    let outcomes = [
        Outcome::Proceed,
        Outcome::Unavailable,
        Outcome::Contention,
        Outcome::StatementTimeout,
        Outcome::AnswerLost,
        Outcome::RequestLost,
        Outcome::Late,
        Outcome::Conflict,
        Outcome::Deadly,
    ];
    for outcome in outcomes {
        let commit = Regex::new(&format!("Commit of .* {outcome}\n")).unwrap();
        assert!(commit.is_match(&traces), "no commit {outcome}");
    }
    for call in ["Checkpoints", "CreateCheckpoints", "Standing", "FinishFold"] {
        assert!(traces.contains(&format!("{call} {}", Outcome::Proceed)), "no call {call}");
    }
    for what in ["conflict", "fenced", "refused", "left after", "finds a session deleted", "conflict with a deletion"] {
        assert!(traces.contains(&format!(": {what}\n")) || traces.contains(&format!(": {what} ")), "never {what}");
    }
    for told in ["committed", "retried", "fenced", "revoked", "read_again", "failed"] {
        assert!(traces.contains(&format!("a batch is told of as {told}: ")), "no batch {told}");
    }
    for told in ["applied", "duplicate", "ignored", "dead_letter"] {
        assert!(traces.contains(&format!("an event is told of as {told}: ")), "no event {told}");
    }
    for change in ["was (active|orphan), is timed_out", "was timed_out, is (active|orphan)"] {
        assert!(Regex::new(change).unwrap().is_match(&traces), "no session {change}");
    }
}
