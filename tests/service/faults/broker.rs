//! The broker stands still, answers with errors, loses its coordinator, loses records.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    mocking::{MockCluster, MockCoordinator},
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey as Request, RDKafkaRespErr as Answer},
};
use sessionfold::{
    devstack::{Broker, Options},
    event::EventKind,
    generate::{GeneratedRecord, Generator, Shape},
    record::{NextOffset, TopicPartition},
    service::open_store,
    stream::{LogEnds, log_ends},
};
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    crashes::{committed_records, until_committed},
    deployment::{Deployment, MAX_VALUE_BYTES},
    expected::Expected,
    guarantees::records,
    locks::until_batches_wait,
    program::{Instance, run, until},
    tables::assert_tables_equal,
    tansu::Tansu,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// For runs of any length: nothing is timed out, since the model knows no clock.
fn without_sweep(deployment: &mut Deployment) {
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "1h");
}

async fn the_broker_stands_still(time: Duration, seed: u64) {
    let mut broker = Broker::start(&Options::default()).await.unwrap();
    let mut deployment = Deployment::at(&broker.bootstrap(), 2).await;
    without_sweep(&mut deployment);
    deployment.set("SESSIONFOLD_BATCH__MAX_EVENTS", "200");
    // Little is fetched ahead, so that most is with the broker when it stands still.
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__QUEUED_MIN_MESSAGES", "100");
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__MAX_PARTITION_FETCH_BYTES", "20000");
    let sent = records(8_000, seed);
    let (before, after) = sent.split_at(6_000);
    let mut connection = deployment.connect().await;
    let mut instance = Instance::start(&deployment, &["run"]);
    instance.until_assigned(1).await;
    let (mut blocker, mut observer) = (deployment.connect().await, deployment.connect().await);
    let mut lock = blocker.begin().await.unwrap();
    lock.execute("LOCK TABLE sessions").await.unwrap();
    deployment.send(before).await;
    until_batches_wait(&mut observer, 1, None).await;

    broker.pause().unwrap();
    lock.rollback().await.unwrap();
    tokio::time::sleep(time).await; // the outage itself
    let paused_at = committed_records(&mut connection).await;
    assert!(paused_at > 0 && paused_at < before.len() as u64, "{paused_at} were read before the broker stood still");
    broker.resume().unwrap();
    let resumed = Instant::now();
    deployment.send(after).await;
    until_committed(&mut connection, sent.len()).await;
    let took = resumed.elapsed();

    instance.stop().await;
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
    println!("broker frozen for {time:?} with {paused_at} of 6000 committed: all caught up {took:.1?} after");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stands_still_for_three_seconds_delays_and_loses_nothing() {
    the_broker_stands_still(Duration::from_secs(3), 41).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn a_broker_that_stands_still_for_half_a_minute_delays_and_loses_nothing() {
    the_broker_stands_still(Duration::from_secs(30), 42).await;
}

/// Brokers that misbehave on request, with an instance that has already read something from them.
struct Trial {
    cluster: MockCluster<'static, DefaultProducerContext>,
    deployment: Deployment,
    connection: PgConnection,
    instance: Instance,
    records: Generator,
    sent: Vec<GeneratedRecord>,
    longest: Duration,
}

const BROKERS: i32 = 3;
const PARTITIONS: i32 = 3;

async fn mocked(partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, Deployment) {
    let cluster = MockCluster::new(BROKERS).unwrap();
    let mut deployment = Deployment::without_topics(&cluster.bootstrap_servers()).await;
    without_sweep(&mut deployment);
    for topic in &deployment.topics {
        cluster.create_topic(topic, partitions, BROKERS).unwrap();
    }
    (cluster, deployment)
}

/// What an instance says.
const HALTED: &str = "a partition halted";
const FALSE_ALARM: &str = "no position is outside its log";
/// An offset that no log here reaches.
const BEYOND: i64 = 1_000_000;

impl Trial {
    async fn begin(seed: u64) -> Self {
        let mut trial = Self::start(seed, &[]).await;
        trial.portion().await;
        trial.longest = Duration::ZERO;
        trial
    }

    /// The checkpoints of these partitions lie outside their logs.
    async fn start(seed: u64, outside: &[(EventKind, i32)]) -> Self {
        let (cluster, mut deployment) = mocked(PARTITIONS).await;
        deployment.set("SESSIONFOLD_LOG__FILTER", "info,sessionfold=debug");
        let beyond: Vec<_> = outside
            .iter()
            .map(|(kind, number)| (TopicPartition::new(deployment.topic(*kind), *number), NextOffset::new(BEYOND)))
            .collect();
        open_store(&deployment.config()).create_checkpoints(&deployment.group_id, &beyond).await.unwrap();
        let connection = deployment.connect().await;
        let instance = Instance::start(&deployment, &["run"]);
        let records =
            Generator::new(Shape { records: 100_000, seed, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() });
        let (sent, longest) = (Vec::new(), Duration::ZERO);
        Self { cluster, deployment, connection, instance, records, sent, longest }
    }

    fn partition(&self, kind: EventKind, number: i32) -> TopicPartition {
        TopicPartition::new(self.deployment.topic(kind), number)
    }

    /// Waits until the instance has said something so often.
    async fn says(&self, what: &str, times: usize) {
        let said = async {
            while self.instance.said(what) < times {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let said = tokio::time::timeout(PATIENCE, said).await;
        assert!(said.is_ok(), "{what} was not said {times} time(s):\n{}", self.instance.log());
    }

    /// Waits until everything is committed but what is in these partitions, which halted.
    async fn taken_in_but_for(&mut self, halted: &[TopicPartition]) {
        let ends = ends(&self.deployment).await;
        let others = ends.iter().filter(|ends| !halted.contains(&ends.partition)).map(|ends| ends.latest.get());
        let committed = others.chain(halted.iter().map(|_| BEYOND)).sum::<i64>();
        until_committed(&mut self.connection, usize::try_from(committed).unwrap()).await;
    }

    /// Sends more, and waits until the instance has taken it in, without anybody's help.
    async fn portion(&mut self) {
        self.send().await;
        self.taken_in().await;
    }

    async fn send(&mut self) {
        let before = self.sent.len();
        self.sent.extend(self.records.by_ref().take(300));
        self.deployment.send(&self.sent[before..]).await;
    }

    async fn taken_in(&mut self) {
        let begun = Instant::now();
        until_committed(&mut self.connection, self.sent.len()).await;
        self.longest = self.longest.max(begun.elapsed());
    }

    /// Answers the next requests of a kind with these errors, each some times.
    fn answer(&self, request: Request, errors: &[Answer]) {
        for error in errors {
            self.cluster.request_errors(request, &[*error; 2]);
        }
    }

    /// Waits until the group was assigned anew.
    async fn rebalanced(&self, assignments: usize) {
        let said = async || self.instance.said("partitions assigned") > assignments;
        until("the group rebalances", PATIENCE, said).await;
    }

    fn lead(&self, leader: impl Fn(i32) -> Option<i32>) {
        for topic in &self.deployment.topics {
            for partition in 0..PARTITIONS {
                self.cluster.partition_leader(topic, partition, leader(partition)).unwrap();
            }
        }
    }

    fn coordinate(&self, broker: i32) {
        self.cluster.coordinator(MockCoordinator::Group(self.deployment.group_id.clone()), broker).unwrap();
    }

    async fn end(mut self, what: &str) {
        self.instance.stop().await;
        assert_tables_equal(&self.deployment, &Expected::of(&self.sent)).await;
        assert_kafka_follows(&self.deployment).await;
        println!("{what}: {} records, each portion taken in within {:.1?}", self.sent.len(), self.longest);
    }
}

/// Kafka's committed offsets may lag behind the checkpoints, where a commit was refused. They never lead.
async fn assert_kafka_follows(deployment: &Deployment) {
    for ends in ends(deployment).await {
        let checkpoint = checkpoint(deployment, &ends.partition).await;
        assert!(ends.committed.is_none_or(|committed| committed.get() <= checkpoint), "{ends:?}, {checkpoint}");
    }
}

async fn ends(deployment: &Deployment) -> Vec<LogEnds> {
    let kafka = deployment.config().kafka;
    tokio::task::spawn_blocking(move || log_ends(&kafka, Duration::from_secs(10))).await.unwrap().unwrap()
}

async fn checkpoint(deployment: &Deployment, partition: &TopicPartition) -> i64 {
    let store = open_store(&deployment.config());
    let found = store.checkpoints(&deployment.group_id, std::slice::from_ref(partition)).await.unwrap();
    found[partition].get()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_fetches_and_metadata_with_errors_are_waited_out() {
    let mut trial = Trial::begin(43).await;
    for error in [
        Answer::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Answer::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Answer::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        Answer::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        Answer::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        Answer::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        Answer::RD_KAFKA_RESP_ERR__TRANSPORT,
    ] {
        trial.answer(Request::Fetch, &[error]);
        trial.portion().await;
    }
    // Each error is followed by one that shows.
    trial.answer(Request::Fetch, &[Answer::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE]);
    trial.portion().await;
    trial.says(FALSE_ALARM, 1).await;
    for topic in &trial.deployment.topics {
        trial.cluster.topic_error(topic, Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    }
    // By which the metadata are asked for, unless they just were.
    until("the topics' errors are seen", PATIENCE, async || {
        trial.answer(Request::Fetch, &[Answer::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]);
        trial.instance.said("TopicAuthorizationFailed") > 0
    })
    .await;
    for topic in &trial.deployment.topics {
        trial.cluster.topic_error(topic, Answer::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    }
    trial.portion().await;
    trial.end("errors in answers to fetches").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_out_of_range_for_a_moment_only_ends_nothing() {
    let mut trial = Trial::begin(44).await;
    for turn in 1..=3 {
        trial.answer(Request::Fetch, &[Answer::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE]);
        trial.portion().await;
        trial.says(FALSE_ALARM, turn).await;
    }
    assert_eq!(trial.instance.said(HALTED), 0);
    trial.end("out of range for a moment").await;
}

/// Each of the two is an error of its own, which doesn't say whose it is.
#[tokio::test(flavor = "multi_thread")]
async fn two_partitions_outside_their_logs_halt_and_the_others_go_on_undisturbed() {
    let mut trial = Trial::start(51, &[(EventKind::Tool, 0), (EventKind::Tool, 1)]).await;
    let outside = [0, 1].map(|number| trial.partition(EventKind::Tool, number));
    trial.send().await;
    trial.says(HALTED, 2).await;
    trial.taken_in_but_for(&outside).await;
    assert_eq!(trial.instance.said(FALSE_ALARM), 0, "{}", trial.instance.log());

    // With two halted, a false alarm for others is still one.
    trial.answer(Request::Fetch, &[Answer::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE]);
    trial.send().await;
    trial.says(FALSE_ALARM, 1).await;
    trial.taken_in_but_for(&outside).await;
    assert_eq!(trial.instance.said(HALTED), 2);
    trial.instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_outside_its_log_halts_while_the_leader_of_another_is_away() {
    let mut trial = Trial::begin(52).await;
    let [outside, unanswered] = [EventKind::Tool, EventKind::Prompt].map(|kind| trial.partition(kind, 0));
    // Its leader goes away. (Without any leader the mock would follow a null pointer.)
    trial.lead(|_| Some(3));
    trial.coordinate(1);
    trial.cluster.partition_leader(&unanswered.topic, 0, Some(2)).unwrap();
    trial.portion().await;
    trial.cluster.broker_down(2).unwrap();
    let moved = "UPDATE checkpoints SET next_offset = $1 WHERE topic = $2 AND partition = 0";
    sqlx::query(moved).bind(BEYOND).bind(&*outside.topic).execute(&mut trial.connection).await.unwrap();
    // With the next batch it notices that its checkpoint was moved.
    let tools: Vec<_> = trial.records.by_ref().filter(|record| record.kind == EventKind::Tool).take(100).collect();
    trial.deployment.send(&tools).await;
    trial.says(HALTED, 1).await;
    let shown = String::from_utf8(run(&trial.deployment, &["offsets", "show"]).stdout).unwrap();
    let line = |of: &TopicPartition| shown.lines().find(|line| line.starts_with(&of.to_string())).unwrap();
    assert!(line(&unanswered).ends_with(" ?") && line(&outside).contains(&BEYOND.to_string()), "{shown}");
    adopt(&trial.deployment, &outside.topic);

    trial.cluster.broker_up(2).unwrap();
    trial.send().await;
    assert_eq!(trial.instance.said(HALTED), 1);
    trial.instance.stop().await;
    trial.instance = Instance::start(&trial.deployment, &["run"]);
    trial.taken_in_but_for(&[]).await;
    trial.instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn false_alarms_without_end_end_the_service_and_nobody_is_told_to_move_checkpoints() {
    let mut trial = Trial::begin(53).await;
    trial.answer(Request::Fetch, &[Answer::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE; 200]);
    assert_eq!(trial.instance.wait(PATIENCE).await.code(), Some(1));
    let log = trial.instance.log();
    assert!(log.contains("Kafka's brokers disagree about where logs end"), "{log}");
    assert!(!log.contains("offsets adopt") && trial.instance.said(HALTED) == 0, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn answers_of_the_group_with_errors_are_waited_out() {
    let mut trial = Trial::begin(45).await;
    trial.answer(
        Request::OffsetCommit,
        &[
            Answer::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
            Answer::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            Answer::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        ],
    );
    trial.portion().await;
    trial.answer(
        Request::Heartbeat,
        &[Answer::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Answer::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE],
    );
    trial.portion().await;
    for evicted in [
        Answer::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        Answer::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        Answer::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    ] {
        let assignments = trial.instance.said("partitions assigned");
        trial.answer(
            Request::JoinGroup,
            &[Answer::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Answer::RD_KAFKA_RESP_ERR_NOT_COORDINATOR],
        );
        trial.answer(Request::SyncGroup, &[Answer::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
        trial.answer(Request::Heartbeat, &[evicted]);
        trial.rebalanced(assignments).await;
        trial.portion().await;
    }
    trial.end("errors in answers of the group").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_moves_or_is_lost_past_the_session_timeout_is_found_again() {
    let mut trial = Trial::begin(46).await;
    for broker in [2, 3, 1] {
        trial.coordinate(broker);
        trial.portion().await;
    }
    // Its broker goes away, though it leads no partition, until nobody counts as a member any more. Before, producer and
    // consumer hear who leads: while one of them still asks the broker that is away, nothing is read of its partitions,
    // and the membership may end first.
    trial.lead(|_| Some(2));
    trial.portion().await;
    trial.cluster.broker_down(1).unwrap();
    trial.portion().await;
    let lost = async || trial.instance.said("lost=true") > 0;
    until("the membership is lost", PATIENCE, lost).await;
    let assignments = trial.instance.said("partitions assigned");
    trial.send().await;
    trial.coordinate(3);
    trial.rebalanced(assignments).await;
    trial.taken_in().await;
    trial.cluster.broker_up(1).unwrap();
    trial.portion().await;
    trial.end("the coordinator moved three times and was lost once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_change_or_are_missing_are_followed() {
    let mut trial = Trial::begin(47).await;
    for turn in 0..4 {
        trial.lead(|partition| Some((partition + turn) % BROKERS + 1));
        trial.portion().await;
    }
    // All records wait at the one broker that is then away.
    trial.lead(|_| Some(1));
    trial.coordinate(2);
    trial.portion().await;
    trial.cluster.broker_down(1).unwrap();
    let read = committed_records(&mut trial.connection).await;
    trial.lead(|_| None);
    tokio::time::sleep(Duration::from_secs(2)).await; // the outage itself
    assert_eq!(committed_records(&mut trial.connection).await, read);
    trial.lead(|partition| Some(partition % 2 + 2));
    trial.portion().await;
    trial.cluster.broker_up(1).unwrap();
    trial.portion().await;
    trial.end("leaders changed six times").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make faults`"]
async fn slow_answers_and_a_cluster_that_is_away_are_waited_out() {
    let mut trial = Trial::begin(48).await;
    const ALL: i32 = -1;
    for delay in [500, 2_000, 0].map(Duration::from_millis) {
        trial.cluster.broker_round_trip_time(ALL, delay).unwrap();
        trial.portion().await;
    }
    trial.cluster.broker_down(ALL).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await; // the outage itself
    trial.cluster.broker_up(ALL).unwrap();
    trial.portion().await;
    trial.end("answers after 2 s, then no broker for 3 s").await;
}

const SEGMENTATION_FAULT: i32 = 11;
/// More would be another fault than the one that is known.
const MOST_CRASHES: u32 = 2;

/// `sessionfold offsets adopt … --to earliest`, as the error says.
fn adopt(deployment: &Deployment, topic: &str) {
    let adopt = ["offsets", "adopt", "--topic", topic, "--partition", "0", "--to", "earliest", "--yes"];
    let output = run(deployment, &adopt);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// All topics are made anew under a running instance. Three get their records again, and more; the fourth gets fewer
/// than there were.
///
/// librdkafka 2.12.1 now and then follows a null pointer (`rd_kafka_metadata_update_op`) when a fetch names a topic by an
/// id that Tansu no longer knows. The instance is started again then, as by its supervisor.
#[tokio::test(flavor = "multi_thread")]
async fn topics_made_anew_under_a_running_instance_halt_where_the_log_is_too_short_for_the_checkpoint() {
    let broker = Broker::start(&Options::default()).await.unwrap();
    let address = broker.bootstrap();
    let mut deployment = Deployment::at(&address, 1).await;
    without_sweep(&mut deployment);
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__SESSION_TIMEOUT_MS", "3000");
    let sent = records(3_000, 49);
    let (before, after) = sent.split_at(2_000);
    deployment.send(before).await;
    let mut connection = deployment.connect().await;
    let mut instance = Instance::start(&deployment, &["run"]);
    until_committed(&mut connection, before.len()).await;

    broker.stop().await;
    // Another takes its place: the same address, and nothing in it.
    let (_, port) = address.rsplit_once(':').unwrap();
    let _successor = Tansu::start(port.parse().unwrap(), &address, &["--silent"]).await;
    deployment.create_topics(1).await;
    let is_tool = |record: &&GeneratedRecord| record.kind == EventKind::Tool;
    let again: Vec<_> = before.iter().filter(|record| !is_tool(record)).chain(after).collect();
    deployment.send(again.iter().copied()).await;
    let others = after.iter().filter(|record| !is_tool(record)).count();
    let (begun, mut crashes) = (Instant::now(), 0);
    let halted = async || {
        if instance.ended_by_signal() == Some(SEGMENTATION_FAULT) {
            crashes += 1;
            assert!(crashes <= MOST_CRASHES, "{}", instance.log());
            instance = Instance::start(&deployment, &["run"]);
        }
        let others_went_on = committed_records(&mut connection).await == (before.len() + others) as u64;
        others_went_on && instance.said("sessionfold offsets adopt") == 1
    };
    until("three go on and the short one halts", PATIENCE, halted).await;
    let took = begun.elapsed();
    assert!(instance.log().contains(deployment.topic(EventKind::Tool)), "{}", instance.log());

    adopt(&deployment, deployment.topic(EventKind::Tool));
    instance.stop().await;
    instance = Instance::start(&deployment, &["run"]);
    until_committed(&mut connection, again.len()).await;
    instance.stop().await;
    let mut expected = Expected::of(&sent);
    expected.records = again.len() as u64;
    assert_tables_equal(&deployment, &expected).await;
    println!(
        "topics made anew: three went on, the short one halted, {took:.1?} after; crashes of librdkafka: {crashes}"
    );
}

/// Another member has read what there was and has left, and the rebalance that follows has no end.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_all_have_ended_waits_for_no_rebalance() {
    let (cluster, mut deployment) = mocked(2).await;
    // The instance hears at once that the other member has left.
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__HEARTBEAT_INTERVAL_MS", "100");
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__SESSION_TIMEOUT_MS", "6000");
    deployment.send(&records(1_000, 54)).await;
    let other = member(&deployment);
    let has_partitions = async || {
        let _ = other.poll(Duration::ZERO);
        other.assignment().unwrap().count() > 0
    };
    until("the other member has partitions", PATIENCE, has_partitions).await;
    let mut instance = Instance::start(&deployment, &["run", "--drain"]);
    let has_drained = async || {
        let _ = other.poll(Duration::ZERO);
        instance.said("staying in the group until the others are") == 1
    };
    until("the instance has drained its partitions", PATIENCE, has_drained).await;

    cluster.request_errors(Request::SyncGroup, &[Answer::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 5_000]);
    other.commit(&ends_of_assignment(&other), CommitMode::Sync).unwrap();
    drop(other);
    assert!(instance.wait(PATIENCE).await.success());
}

/// One of the deployment's group that is none of ours.
fn member(deployment: &Deployment) -> BaseConsumer {
    let kafka = deployment.config().kafka;
    let member: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("group.id", &deployment.group_id)
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "100")
        .create()
        .unwrap();
    let topics: Vec<&str> = deployment.topics.iter().map(String::as_str).collect();
    member.subscribe(&topics).unwrap();
    member
}

fn ends_of_assignment(member: &BaseConsumer) -> TopicPartitionList {
    let mut ends = TopicPartitionList::new();
    for one in member.assignment().unwrap().elements() {
        let (_, end) = member.fetch_watermarks(one.topic(), one.partition(), PATIENCE).unwrap();
        ends.add_partition_offset(one.topic(), one.partition(), Offset::Offset(end)).unwrap();
    }
    ends
}

/// The mock keeps 5 MB a partition and then forgets the oldest records.
#[tokio::test(flavor = "multi_thread")]
async fn retention_past_a_checkpoint_halts_its_partition_and_the_others_go_on() {
    let (_cluster, mut deployment) = mocked(1).await;
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__COMPRESSION_TYPE", "none");
    let sent = records(30_000, 50);
    let (before, after) = sent.split_at(1_000);
    deployment.send(before).await;
    assert!(run(&deployment, &["run", "--drain"]).status.success());
    // Many tools and few others, so that retention runs over one topic only.
    let is_tool = |record: &&GeneratedRecord| record.kind == EventKind::Tool;
    let others: Vec<_> = after.iter().filter(|record| !is_tool(record)).take(1_000).collect();
    let tools: Vec<_> = after.iter().filter(is_tool).collect();
    deployment.send(others.iter().copied().chain(tools.iter().copied())).await;

    let halted = run(&deployment, &["run", "--drain"]);
    let log = String::from_utf8(halted.stderr).unwrap();
    assert_eq!(halted.status.code(), Some(1), "{log}");
    let topic = deployment.topic(EventKind::Tool);
    let checkpoint = before.iter().filter(is_tool).count();
    assert!(log.contains("sessionfold offsets adopt") && log.contains(topic), "{log}");
    assert!(log.contains(&checkpoint.to_string()), "{log}");
    let mut connection = deployment.connect().await;
    assert_eq!(committed_records(&mut connection).await, (before.len() + others.len()) as u64, "the others go on");

    adopt(&deployment, topic);
    assert!(run(&deployment, &["run", "--drain"]).status.success());
    let ends = ends(&deployment).await;
    let kept_from = ends.iter().find(|ends| *ends.partition.topic == *topic).unwrap().earliest.get();
    let skipped = usize::try_from(kept_from).unwrap() - checkpoint;
    let mut expected = Expected::of(before.iter().chain(others).chain(tools.into_iter().skip(skipped)));
    expected.records += skipped as u64;
    assert_tables_equal(&deployment, &expected).await;
    println!("retention ran over a checkpoint: halted; {skipped} records skipped by decision");
}
