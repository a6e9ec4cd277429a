//! Several instances in one group give the same result as one.

use std::time::Duration;

use sessionfold::generate::GeneratedRecord;

use crate::{
    convergence::sent_three_times,
    crashes::committed_records,
    deployment::Deployment,
    expected::Expected,
    program::{Instance, until},
    tables::assert_tables_equal,
};

const PATIENCE: Duration = Duration::from_secs(120);

async fn join_and_leave(strategy: &str) {
    let mut deployment = Deployment::new(4).await;
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__PARTITION_ASSIGNMENT_STRATEGY", strategy);
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "500");
    let sent = sent_three_times(50_000, 13);
    let (backlog, later) = sent.split_at(sent.len() * 2 / 3);
    deployment.send(backlog).await;
    let expected = Expected::of(&sent);
    let mut connection = deployment.connect().await;
    let mut reached = async |share: u64| {
        let records = expected.records * share / 100;
        let reached = async || committed_records(&mut connection).await >= records;
        until("the group makes progress", PATIENCE, reached).await;
    };

    let mut first = Instance::start(&deployment, &["run"]);
    reached(10).await;
    let mut second = Instance::start(&deployment, &["run"]);
    reached(66).await;
    deployment.send(later).await;
    reached(75).await;
    second.stop().await;
    reached(100).await;
    first.stop().await;

    assert_tables_equal(&deployment, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_that_joins_and_leaves_changes_nothing_in_the_result() {
    join_and_leave("range").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_under_cooperative_assignment() {
    join_and_leave("cooperative-sticky").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_drain_at_once_share_the_work() {
    let deployment = Deployment::new(4).await;
    let sent = sent_three_times(10_000, 14);
    deployment.send(&sent).await;
    let mut instances = [(); 2].map(|()| Instance::start(&deployment, &["run", "--drain"]));
    for instance in &mut instances {
        assert!(instance.wait(PATIENCE).await.success());
    }
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

/// Two that drain 30,000 records, of which the second is slow: it commits so many at a time. The first has read its part.
async fn drained_beside_a_slow_one(most_at_a_time: &str) -> (Deployment, Vec<GeneratedRecord>, [Instance; 2]) {
    let mut deployment = Deployment::new(4).await;
    let sent = sent_three_times(10_000, 16);
    deployment.send(&sent).await;
    let first = Instance::start(&deployment, &["run", "--drain"]);
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", most_at_a_time);
    let slow = Instance::start(&deployment, &["run", "--drain"]);
    let has_drained = async || first.said("staying in the group until the others are") == 1;
    until("the first has drained its partitions", PATIENCE, has_drained).await;
    (deployment, sent, [first, slow])
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_drained_its_partitions_first_stays_in_the_group_until_the_others_have() {
    let (deployment, sent, [mut first, mut slow]) = drained_beside_a_slow_one("20").await;
    assert!(first.wait(PATIENCE).await.success());
    assert_eq!(committed_records(&mut deployment.connect().await).await, sent.len() as u64);
    assert!(slow.wait(PATIENCE).await.success());
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_waits_for_the_others_is_stopped_like_any() {
    let (deployment, sent, [mut first, _slow]) = drained_beside_a_slow_one("1").await;
    first.stop().await;
    assert!(committed_records(&mut deployment.connect().await).await < sent.len() as u64);
}

/// A partition number's batches go in the lane that the log names.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_uses_its_part_of_the_groups_lanes() {
    let mut deployment = Deployment::new(4).await;
    deployment.set("SESSIONFOLD_LOG__FILTER", "info,sessionfold::pipeline=debug,sessionfold::stream=debug");
    let sent = sent_three_times(3_000, 15);
    let (among_two, alone) = sent.split_at(sent.len() / 2);
    let mut connection = deployment.connect().await;
    let mut instances = [(); 2].map(|()| Instance::start(&deployment, &["run"]));
    for instance in &instances {
        let has_half = async || instance.said("lanes in use lanes=1") > 0;
        until("each has half of the partitions", PATIENCE, has_half).await;
    }
    deployment.send(among_two).await;
    let of_both = async || committed_records(&mut connection).await >= among_two.len() as u64;
    until("the half is committed", PATIENCE, of_both).await;
    for instance in &instances {
        until("each has committed some", PATIENCE, async || instance.said("lane=0") > 0).await;
        assert_eq!(instance.said("lane=1"), 0, "{}", instance.log());
    }

    let [left, stayed] = &mut instances;
    let with_both = |instance: &Instance| instance.said("lanes in use lanes=2");
    let before = with_both(stayed);
    left.stop().await;
    until("the other one has all", PATIENCE, async || with_both(stayed) > before).await;
    deployment.send(alone).await;
    let of_one = async || committed_records(&mut connection).await >= sent.len() as u64;
    until("all is committed", PATIENCE, of_one).await;
    until("it has used both lanes", PATIENCE, async || stayed.said("lane=1") > 0).await;
    stayed.stop().await;
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}
