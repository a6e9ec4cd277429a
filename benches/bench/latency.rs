//! How long an event takes from its producer to Postgres, at a steady rate that the service keeps up with.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rdkafka::{
    ClientConfig, ClientContext, Message,
    config::FromClientConfigAndContext,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use sessionfold::generate::{GeneratedRecord, Generator, Shape};
use sqlx::PgConnection;

use crate::{
    backlog::Topics,
    measured::percentile,
    options::Options,
    process::sessionfold,
    rig::{Place, Rig},
};

/// How often Postgres is asked.
const ASK: Duration = Duration::from_millis(2);
/// How often records are sent: the rate's share of this time at once.
const PORTION: Duration = Duration::from_millis(10);
/// What is left out at the beginning, while caches are cold and connections are made.
const WARM_UP: Duration = Duration::from_secs(2);
/// The longest wait, for the group at the start and for the last record at the end.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Latency {
    /// What the producer really sent a second.
    pub rate: f64,
    /// From just before the send until it is seen in Postgres.
    pub whole: Millis,
    /// The part of it until the broker says that it has the record: the producer's and the broker's.
    pub sending: Millis,
}

/// How long many records took, in milliseconds.
pub struct Millis {
    pub records: usize,
    pub p50: f64,
    pub p99: f64,
    pub most: f64,
}

impl Millis {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut millis: Vec<f64> = times.map(|time| time.as_secs_f64() * 1_000.0).collect();
        millis.sort_by(f64::total_cmp);
        Self {
            records: millis.len(),
            p50: percentile(&millis, 0.5),
            p99: percentile(&millis, 0.99),
            most: percentile(&millis, 1.0),
        }
    }
}

/// Where a record went, by topic and partition.
type Partition = (String, i32);

/// A record that the broker took.
struct Sent {
    partition: Partition,
    offset: i64,
    /// Just before it was handed to the producer.
    at: Instant,
    /// When the producer heard that the broker has it.
    acknowledged: Instant,
}

/// What one look at the checkpoints found, and when it was known.
type Seen = (Instant, HashMap<Partition, i64>);

pub async fn measure(rig: &Rig, options: &Options) -> Result<Latency> {
    let topics = Topics::new("latency");
    topics.create(&rig.common_config(&topics)?.kafka).await?;
    let place = rig.fresh_place(&topics).await?;
    let mut connection = rig.connect_to(&place).await?;
    // Killed at the end: whatever it has not committed by then nobody waits for.
    let _service = sessionfold(rig, &place, &["run"])?;
    until_assigned(&mut connection, &place).await?;

    let (brokers, rate, seconds) = (rig.brokers(), options.rate, options.latency_seconds);
    let sending = tokio::task::spawn_blocking(move || send(&brokers, &topics, rate, seconds));
    let watching = watch(&mut connection, &place, i64::from(rate) * i64::from(seconds));
    // Together, so that a send that fails is not waited for in Postgres.
    let ((sent, took), seen) = tokio::try_join!(async { sending.await? }, watching)?;
    let rate = sent.len() as f64 / took.as_secs_f64();
    Ok(evaluate(sent, &seen, rate))
}

/// Checkpoints are made when the group has given out the partitions, just before reading begins.
async fn until_assigned(connection: &mut PgConnection, place: &Place) -> Result<()> {
    let begun = Instant::now();
    while checkpoints(connection, place).await?.is_empty() {
        ensure!(begun.elapsed() < PATIENCE, "the service got no partitions");
        tokio::time::sleep(PORTION).await;
    }
    Ok(())
}

async fn checkpoints(connection: &mut PgConnection, place: &Place) -> Result<HashMap<Partition, i64>> {
    let rows: Vec<(String, i32, i64)> =
        sqlx::query_as("SELECT topic, partition, next_offset FROM checkpoints WHERE group_id = $1")
            .bind(&place.group)
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(|(topic, partition, next)| ((topic, partition), next)).collect())
}

/// Looks at the checkpoints until all records are in.
async fn watch(connection: &mut PgConnection, place: &Place, records: i64) -> Result<Vec<Seen>> {
    let (mut seen, mut last, mut moved_at) = (Vec::<Seen>::new(), 0, Instant::now());
    let mut ticks = tokio::time::interval(ASK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while last < records {
        ticks.tick().await;
        let found = checkpoints(connection, place).await?;
        let sum = found.values().sum();
        if sum > last {
            moved_at = Instant::now();
            seen.push((moved_at, found));
            last = sum;
        }
        ensure!(moved_at.elapsed() < PATIENCE, "{last} of {records} records came to Postgres");
    }
    Ok(seen)
}

/// Sends at the rate, by the clock: what was late in one portion is made up for in the next.
fn send(brokers: &str, topics: &Topics, rate: u32, seconds: u32) -> Result<(Vec<Sent>, Duration)> {
    let records = u64::from(rate) * u64::from(seconds);
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("acks", "all").set("compression.type", "lz4");
    // As the program's own producer does. With less, the development broker is busy with many small batches.
    settings.set("linger.ms", "20").set("partitioner", "murmur2_random");
    // Records that are too large for the service are among them.
    settings.set("message.max.bytes", "16000000");
    let producer: ThreadedProducer<Reports> = ThreadedProducer::from_config_and_context(&settings, Reports::default())?;
    let mut generator = Generator::new(Shape { records, seed: 7, ..Shape::default() });
    let (begun, mut sent) = (Instant::now(), 0_u64);
    while sent < records {
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        for record in generator.by_ref().take(usize::try_from(due.min(records) - sent)?) {
            send_one(&producer, topics, &record)?;
            sent += 1;
        }
        std::thread::sleep(PORTION);
    }
    let took = begun.elapsed();
    producer.flush(PATIENCE)?;
    let reports = std::mem::take(&mut *producer.client().context().0.lock().unwrap_or_else(PoisonError::into_inner));
    ensure!(reports.len() as u64 == records, "{} of {records} records were delivered", reports.len());
    Ok((reports, took))
}

fn send_one(producer: &ThreadedProducer<Reports>, topics: &Topics, record: &GeneratedRecord) -> Result<()> {
    let headers = record
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_ref() }));
    let mut outgoing = BaseRecord::with_opaque_to(topics.0.of(record.kind), Box::new(Instant::now()))
        .key(&record.key)
        .headers(headers);
    outgoing.payload = record.value.as_ref();
    outgoing.timestamp = Some(record.timestamp_millis);
    producer.send(outgoing).map_err(|(error, _)| error).context("sending at the steady rate")
}

/// Keeps where each record went.
#[derive(Default)]
struct Reports(Mutex<Vec<Sent>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, at: Box<Instant>) {
        // One that failed is missing in the end.
        if let Ok(message) = result {
            let partition = (message.topic().to_owned(), message.partition());
            let sent = Sent { partition, offset: message.offset(), at: *at, acknowledged: Instant::now() };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        }
    }
}

/// A record is in the tables when its partition's checkpoint is behind it.
fn evaluate(mut sent: Vec<Sent>, seen: &[Seen], rate: f64) -> Latency {
    let begun = sent.iter().map(|sent| sent.at).min();
    sent.retain(|sent| begun.is_some_and(|begun| sent.at.duration_since(begun) >= WARM_UP));
    let whole = |sent: &Sent| {
        let in_tables = |(_, next): &Seen| next.get(&sent.partition).is_some_and(|next| *next > sent.offset);
        let index = seen.partition_point(|seen| !in_tables(seen));
        Some(seen.get(index)?.0.duration_since(sent.at))
    };
    Latency {
        rate,
        whole: Millis::of(sent.iter().filter_map(whole)),
        sending: Millis::of(sent.iter().map(|sent| sent.acknowledged.duration_since(sent.at))),
    }
}
