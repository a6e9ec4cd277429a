//! The part that publishes changes of sessions' status, as long as a consumer runs beside it.

mod counts;
mod round;

pub use counts::{OutboxCounts, OutboxSeen};

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    backoff::Backoff,
    config::{Config, KafkaConfig, OutboxConfig},
    store::{Claim, Failure, RowOutcome, Settled, Store, StoreError},
    stream::{DELIVERY_TIMEOUT, OutboxProducer, StreamError, Undelivered, describe_topics},
};

use super::{Ended, Part, PartReport, Stop, part_report::patience};
use round::send;

/// For so long rows of a round are begun to be sent; each is then waited for.
const SEND_FOR: Duration = Duration::from_secs(5);
/// For so long nobody else claims what was claimed: all is sent by then, with time left to note what became of it.
const LEASE: Duration = Duration::from_secs(30);
const _: () = assert!(SEND_FOR.as_secs() + 2 * DELIVERY_TIMEOUT.as_secs() < LEASE.as_secs());

/// How long it rests after a failure that is not a row's.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long the brokers may take to describe the topic.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(8);

/// How often it is counted what waits, at least; and never for more than this part of the time.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const LOOK_SHARE: u32 = 20;

/// Publishes transitions. Every instance may run one: each claims sessions that no other has claimed.
///
/// It reads and marks whatever tables are live, and so works across a promotion.
#[derive(Debug)]
pub struct Publisher {
    store: Store,
    kafka: KafkaConfig,
    config: OutboxConfig,
    report: Arc<PartReport>,
    counts: Arc<OutboxCounts>,
    patience: Duration,
}

/// Why a round failed as a whole. No row is blamed for it.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("topic {0} doesn't exist; make it, or correct outbox.topic")]
    NoTopic(String),
    #[error("nothing could be delivered to topic {topic}: {why}{}",
        last_error.as_ref().map(|error| format!(" (last error: {error})")).unwrap_or_default())]
    Undelivered { topic: String, why: Undelivered, last_error: Option<String> },
}

/// What a round hands to the next.
#[derive(Default)]
struct Rounds {
    /// None before the brokers have told of the topic, and after a failure.
    producer: Option<OutboxProducer>,
    /// Behind which session the next round begins.
    after: Option<String>,
    /// Whether anything was claimed since the last round that began with the first session.
    claimed: bool,
    /// After nothing could be delivered, one row has to show that something can.
    is_probing: bool,
    looked: Option<(Instant, Duration)>,
}

/// For so long, or until it is asked to stop.
async fn rest(time: Duration, stop: &mut Stop) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.asked() => {}
    }
}

/// Whether the next round may wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Idle,
    Worked,
}

impl Part for Publisher {
    const NAME: &'static str = "outbox";

    /// Asked to stop, it ends the round under way. Dropped, it leaves what it had claimed to the others once the lease is
    /// over, and some of that may be sent twice.
    async fn run(&self, mut stop: Stop) -> Ended {
        let Some(topic) = &self.config.topic else {
            stop.asked().await;
            return Ended::Done;
        };
        match self.publish(topic, &mut stop).await {
            Ok(()) => Ended::Done,
            Err(error) => Ended::Failed(error.to_string()),
        }
    }

    fn probe(&self) -> Result<(), String> {
        self.report.probe(self.patience)
    }
}

impl Publisher {
    pub fn new(config: &Config, store: Store) -> Self {
        Self {
            store,
            kafka: config.kafka.clone(),
            config: config.outbox.clone(),
            report: Arc::default(),
            counts: Arc::default(),
            // A lease's time beside what Postgres may take.
            patience: patience(config) + LEASE,
        }
    }

    /// How its last round went.
    pub fn report(&self) -> Arc<PartReport> {
        Arc::clone(&self.report)
    }

    /// What it did, and what waits.
    pub fn counts(&self) -> Arc<OutboxCounts> {
        Arc::clone(&self.counts)
    }

    /// Until it is asked to stop.
    ///
    /// # Errors
    /// If the tables turn out not to be what this build expects.
    async fn publish(&self, topic: &str, stop: &mut Stop) -> Result<(), StoreError> {
        self.report.rest();
        let mut rounds = Rounds::default();
        let mut pause = Backoff::new(PAUSE.0, PAUSE.1);
        while !stop.is_asked() {
            self.report.get_on();
            let result = self.round(topic, &mut rounds, &mut pause).await;
            self.report.note(&result.as_ref().map(|_| ()));
            match result {
                Ok(Round::Worked) => {}
                Ok(Round::Idle) => rest(self.config.interval, stop).await,
                Err(PublishError::Store(error)) if error.failure == Failure::Setup => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "transitions were not published; trying again");
                    self.counts.failed();
                    if !matches!(error, PublishError::Store(_)) {
                        // A new one may do what this one can't, after a fatal error. Its end blocks for a moment.
                        let producer = rounds.producer.take();
                        tokio::task::spawn_blocking(move || drop(producer));
                    }
                    rest(pause.next_delay(), stop).await;
                }
            }
        }
        Ok(())
    }

    async fn round(&self, topic: &str, rounds: &mut Rounds, pause: &mut Backoff) -> Result<Round, PublishError> {
        self.look(rounds).await?;
        if rounds.producer.is_none() {
            rounds.producer = Some(self.connect(topic).await?);
        }
        let limit = if rounds.is_probing { 1 } else { self.config.batch.get() };
        let claimed_at = Instant::now();
        let Claim { sessions, next } = self.store.claim_transitions(rounds.after.as_deref(), limit, LEASE).await?;
        let is_last = next.is_none();
        rounds.after = next;
        rounds.claimed |= !sessions.is_empty();
        if let Some(producer) = rounds.producer.as_ref().filter(|_| !sessions.is_empty()) {
            let sent = send(producer, sessions, claimed_at + SEND_FOR).await;
            let failure = sent.failure();
            let wait = if failure.is_some() { pause.next_delay() } else { Duration::ZERO };
            let outcomes = sent.outcomes(self.config.max_attempts.get(), wait);
            self.settle(&outcomes, claimed_at + LEASE).await?;
            self.counts.settled(&outcomes);
            say_set_aside(&outcomes);
            rounds.is_probing = failure.is_some() && !sent.any_delivered();
            match failure {
                Some(why) if rounds.is_probing => {
                    let last_error = producer.last_error();
                    return Err(PublishError::Undelivered { topic: topic.to_owned(), why, last_error });
                }
                Some(_) => {}
                None => pause.reset(),
            }
        }
        let is_idle = is_last && !rounds.claimed;
        rounds.claimed &= !is_last;
        Ok(if is_idle { Round::Idle } else { Round::Worked })
    }

    /// A producer for a topic that exists: to send to it would make it, where the brokers allow that.
    async fn connect(&self, topic: &str) -> Result<OutboxProducer, PublishError> {
        let (kafka, names) = (self.kafka.clone(), vec![topic.to_owned()]);
        let described = tokio::task::spawn_blocking(move || describe_topics(&kafka, &names, DESCRIBE_TIMEOUT)).await;
        let described = described.map_err(|_| StreamError::Panicked)??;
        if described.iter().all(|(_, partitions)| partitions.is_none()) {
            return Err(PublishError::NoTopic(topic.to_owned()));
        }
        Ok(OutboxProducer::new(&self.kafka, topic, self.config.acks)?)
    }

    /// Again and again for as long as the lease lasts: what was delivered and isn't marked is sent twice.
    async fn settle(&self, outcomes: &[Settled], until: Instant) -> Result<(), StoreError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let Err(error) = self.store.settle_transitions(outcomes).await else { return Ok(()) };
            if matches!(error.failure, Failure::Setup | Failure::Data) || Instant::now() >= until {
                return Err(error);
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn look(&self, rounds: &mut Rounds) -> Result<(), StoreError> {
        if rounds.looked.is_some_and(|(at, took)| at.elapsed() < LOOK_INTERVAL.max(took * LOOK_SHARE)) {
            return Ok(());
        }
        let begun = Instant::now();
        let standing = self.store.outbox_standing().await?;
        self.counts.saw(standing);
        rounds.looked = Some((Instant::now(), begun.elapsed()));
        Ok(())
    }
}

fn say_set_aside(outcomes: &[Settled]) {
    for (key, outcome) in outcomes {
        if let RowOutcome::SetAside { why } = outcome {
            tracing::error!(id = %key.id, why = why.as_str(), "a transition was set aside: it was refused too often");
        }
    }
}
