//! Schedules that once failed, written out.

use sessionfold::fold::{Aggregators, Convergent};

use crate::{
    broker::PARTITIONS,
    gate::Outcome,
    records::{Kind, RecordSpec},
    steps::Step,
    world,
};

fn prompt(id: u8) -> RecordSpec {
    RecordSpec { kind: Kind::Prompt, session: 0, id, second: 0 }
}

/// All records in one batch of member 0.
fn one_batch(partition: usize, records: Vec<RecordSpec>) -> [Step; 2] {
    [Step::Produce { partition, records }, Step::Read { member: 0, counts: [u8::MAX; PARTITIONS] }]
}

fn release(outcome: Outcome) -> Step {
    Step::Release { member: 0, outcome }
}

fn check(steps: &[Step]) {
    let (result, trace) = world::run(steps, &Aggregators::new(Convergent::default()));
    assert_eq!(result, Ok(()), "\n{}", trace.join("\n"));
}

/// The batch counted as committed as a whole, but only its first half was marked as done; so the records read didn't
/// add up.
#[test]
fn a_commit_whose_answer_was_lost_is_taken_as_a_whole_by_a_smaller_attempt() {
    let outcomes = [Outcome::Proceed, Outcome::AnswerLost].map(release);
    let wait = Step::Wait { millis: 200 };
    let smaller = [wait.clone(), release(Outcome::StatementTimeout), wait];
    check(&[&one_batch(0, vec![prompt(0), prompt(1)])[..], &outcomes, &smaller].concat());
}
