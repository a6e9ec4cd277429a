//! Instances are killed, stopped, frozen, and come and go.

use std::time::{Duration, Instant};

use sessionfold::generate::GeneratedRecord;
use sqlx::{Connection, Executor, PgConnection};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    crashes::{committed_records, until_committed},
    deployment::Deployment,
    expected::Expected,
    flow::Flow,
    guarantees::records,
    locks::until_batches_wait,
    program::{Instance, until},
    tables::assert_tables_equal,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// After this long without a heartbeat a member counts as dead; as set by [`Deployment`].
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// What Postgres grants a transaction of a machine that is gone.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(60);

/// A deployment for runs of any length: nothing is timed out, since the model knows no clock.
async fn deployment(partitions: i32, max_events: u32) -> Deployment {
    let mut deployment = Deployment::new(partitions).await;
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "1h");
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", &max_events.to_string());
    deployment
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn twenty_kills_at_random_moments_while_events_flow_lose_nothing_and_count_nothing_twice() {
    let mut deployment = deployment(3, 200).await;
    // The same member comes back, so that the group needn't wait for the killed one to time out.
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__GROUP_INSTANCE_ID", "killed-and-back");
    let flow = Flow::start(&deployment, 31, 4_000);
    let mut connection = deployment.connect().await;
    let mut random = fastrand::Rng::with_seed(31);
    for kill in 0..20 {
        until("its share of the events is sent", PATIENCE, async || flow.sent() >= kill * 5_000).await;
        let before = committed_records(&mut connection).await;
        let mut instance = Instance::start(&deployment, &["run"]);
        // Every other one dies where it happens to be: starting, joining, reading. The rest get some work done first.
        if kill % 2 == 0 {
            let further = before + random.u64(1..5_000);
            until_committed(&mut connection, usize::try_from(further).unwrap()).await;
            tokio::time::sleep(Duration::from_micros(random.u64(0..50_000))).await;
        } else {
            tokio::time::sleep(Duration::from_millis(random.u64(0..3_000))).await;
        }
        assert!(instance.is_running(), "it ended by itself: {}", instance.log());
        instance.kill();
    }

    let (committed, flowed) = (committed_records(&mut connection).await, flow.sent());
    let sent = flow.end(100_000).await;
    let mut instance = Instance::start(&deployment, &["run", "--drain"]);
    assert!(instance.wait(PATIENCE).await.success(), "{}", instance.log());
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
    println!("20 kills while {flowed} of {} records were sent and {committed} committed", sent.len());
}

/// Looks out for times in which no checkpoint moves.
struct Watch {
    end: watch::Sender<bool>,
    longest: JoinHandle<Duration>,
}

impl Watch {
    async fn start(deployment: &Deployment) -> Self {
        let (end, ended) = watch::channel(false);
        let mut connection = deployment.connect().await;
        let longest = tokio::spawn(async move {
            let (mut longest, mut committed, mut moved_at) = (Duration::ZERO, 0, Instant::now());
            while !*ended.borrow() {
                let now = committed_records(&mut connection).await;
                longest = longest.max(moved_at.elapsed());
                if now != committed {
                    (committed, moved_at) = (now, Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            longest
        });
        Self { end, longest }
    }

    async fn end(self) -> Duration {
        self.end.send(true).unwrap();
        self.longest.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn two_rolling_restarts_of_three_instances_pause_no_longer_than_a_rebalance() {
    let deployment = deployment(6, 500).await;
    let flow = Flow::start(&deployment, 32, 1_000);
    let mut connection = deployment.connect().await;
    let mut instances = [(); 3].map(|()| Instance::start(&deployment, &["run"]));
    for instance in &instances {
        instance.until_assigned(1).await;
    }
    until_committed(&mut connection, 1).await;

    let watch = Watch::start(&deployment).await;
    let mut longest_stop = Duration::ZERO;
    for instance in (0..2).flat_map(|_| 0..3) {
        longest_stop = longest_stop.max(instances[instance].stop().await);
        instances[instance] = Instance::start(&deployment, &["run"]);
        // As an orchestrator does it: the next one goes when this one works.
        instances[instance].until_assigned(1).await;
    }
    let longest_pause = watch.end().await;
    assert!(longest_pause < SESSION_TIMEOUT, "nothing was committed for {longest_pause:?}");

    let sent = flow.end(0).await;
    until_committed(&mut connection, sent.len()).await;
    for mut instance in instances {
        longest_stop = longest_stop.max(instance.stop().await);
    }
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
    println!("6 restarts, longest pause {longest_pause:.1?}, slowest stop {longest_stop:.1?}, {} records", sent.len());
}

/// Sends records while the sessions are locked, so that the instance has to wait with a batch in hand, and freezes it
/// there.
async fn freeze_in_hand(deployment: &Deployment, instance: &Instance, records: &[GeneratedRecord], lock: &'static str) {
    // Whoever starts would have to wait too.
    instance.until_assigned(1).await;
    let (mut blocker, mut observer) = (deployment.connect().await, deployment.connect().await);
    let mut transaction = blocker.begin().await.unwrap();
    transaction.execute(lock).await.unwrap();
    deployment.send(records).await;
    until_batches_wait(&mut observer, 1, None).await;
    instance.freeze();
    transaction.rollback().await.unwrap();
}

/// The frozen one is back in the group, and does all the work once the other is gone.
async fn takes_over_again(deployment: &Deployment, back: &mut Instance, mut other: Instance, rest: &[GeneratedRecord]) {
    let mut connection = deployment.connect().await;
    let before = usize::try_from(committed_records(&mut connection).await).unwrap();
    // What it had before the freeze was its first assignment.
    back.until_assigned(2).await;
    other.kill();
    deployment.send(rest).await;
    until_committed(&mut connection, before + rest.len()).await;
    back.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_frozen_past_its_session_timeout_is_fenced_and_rejoins_by_itself() {
    let mut deployment = deployment(2, 500).await;
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__SESSION_TIMEOUT_MS", "3000");
    let sent = records(6_000, 33);
    let (before, rest) = sent.split_at(5_000);
    let mut connection = deployment.connect().await;
    let mut frozen = Instance::start(&deployment, &["run"]);
    // Reading waits too: it hasn't begun to write.
    freeze_in_hand(&deployment, &frozen, before, "LOCK TABLE sessions").await;
    let frozen_at = Instant::now();
    let other = Instance::start(&deployment, &["run"]);
    until_committed(&mut connection, before.len()).await;
    let took = frozen_at.elapsed();

    frozen.thaw();
    until("its write is fenced", PATIENCE, async || frozen.said("fenced") > 0).await;
    takes_over_again(&deployment, &mut frozen, other, rest).await;
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
    println!("frozen with a batch in hand: the other had done all of it after {took:.1?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn an_instance_frozen_inside_its_transaction_holds_the_others_up_for_a_minute_at_most() {
    let deployment = deployment(2, 500).await;
    let sent = records(6_000, 34);
    let (before, rest) = sent.split_at(5_000);
    let mut connection = deployment.connect().await;
    let mut frozen = Instance::start(&deployment, &["run"]);
    // Reading is let through: it has moved its checkpoints, which are locked until its transaction ends.
    freeze_in_hand(&deployment, &frozen, before, "LOCK TABLE sessions IN EXCLUSIVE MODE").await;
    let frozen_at = Instant::now();
    let other = Instance::start(&deployment, &["run"]);
    until_committed(&mut connection, before.len()).await;
    let took = frozen_at.elapsed();
    assert!(took < IDLE_IN_TRANSACTION + 4 * SESSION_TIMEOUT, "{took:?}");

    frozen.thaw();
    takes_over_again(&deployment, &mut frozen, other, rest).await;
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
    println!("frozen inside its transaction: the other had done all of it after {took:.1?}");
}

async fn ten_joins_and_leaves(strategy: &str, seed: u64) {
    let mut deployment = deployment(4, 500).await;
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__PARTITION_ASSIGNMENT_STRATEGY", strategy);
    let flow = Flow::start(&deployment, seed, 1_000);
    let mut connection = deployment.connect().await;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut steady = Instance::start(&deployment, &["run"]);
    steady.until_assigned(1).await;
    let watch = Watch::start(&deployment).await;
    let begun = Instant::now();
    for turn in 0..10 {
        let mut guest = Instance::start(&deployment, &["run"]);
        guest.until_assigned(1).await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..1_500))).await;
        // Most take their leave.
        if turn % 3 == 0 {
            guest.kill();
        } else {
            guest.stop().await;
        }
    }
    let (took, longest_pause) = (begun.elapsed(), watch.end().await);
    assert!(took < Duration::from_secs(120), "ten joins and leaves took {took:?}");

    let sent = flow.end(0).await;
    until_committed(&mut connection, sent.len()).await;
    steady.stop().await;
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
    println!(
        "{strategy}: 10 joins and leaves in {took:.0?}, longest pause {longest_pause:.1?}, {} records",
        sent.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn ten_joins_and_leaves_within_two_minutes_change_nothing_in_the_result() {
    ten_joins_and_leaves("range", 35).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn ten_joins_and_leaves_under_cooperative_assignment_change_nothing_in_the_result() {
    ten_joins_and_leaves("cooperative-sticky", 36).await;
}

/// Sends the records and waits until they are committed too.
async fn go_on(deployment: &Deployment, connection: &mut PgConnection, records: &[GeneratedRecord]) {
    let before = usize::try_from(committed_records(connection).await).unwrap();
    deployment.send(records).await;
    until_committed(connection, before + records.len()).await;
}

/// librdkafka leaves the group when it closes, but not as a static member: that one is expected back. What Kafka does
/// when it is back, which is to give it the same partitions without a rebalance, neither of the brokers here does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn a_static_member_that_stops_for_a_moment_disturbs_nobody_while_it_is_away() {
    let deployment = deployment(2, 500).await;
    let start =
        |name: &str| Instance::start(&deployment, &["run", "--set", &format!("kafka.client.group.instance.id={name}")]);
    let sent = records(2_000, 37);
    let (before, after) = sent.split_at(1_000);
    let mut connection = deployment.connect().await;
    let mut away = start("away");
    away.until_assigned(1).await;
    let mut other = start("other");
    let halves = async || [&away, &other].iter().all(|member| member.said("partitions assigned partitions=4") > 0);
    until("each has half of the partitions", PATIENCE, halves).await;
    go_on(&deployment, &mut connection, before).await;

    let rebalances = other.rebalances();
    away.stop().await;
    // A member that leaves is told to the others with their next heartbeat, which is due every half second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(other.rebalances(), rebalances, "{}", other.log());
    let back_at = Instant::now();
    away = start("away");
    go_on(&deployment, &mut connection, after).await;
    let took = back_at.elapsed();

    for instance in [&mut away, &mut other] {
        instance.stop().await;
    }
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
    println!("a static member was away for 2 s: no rebalance for the other; back at work after {took:.1?}");
}
