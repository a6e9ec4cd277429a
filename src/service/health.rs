//! Whether the service lives and is ready, by what is seen of it once a second. A question costs nothing: it is answered
//! from the last look.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::{
    config::Config,
    store::{BreakerState, MigrationState, Store, StoreError},
};

use super::{
    Board, ConsumerView, Consuming, Ended, Monitor, Part, PartState, Stop, open_store_with,
    watchdog::{Sighting, Stuck, Watchdog, Work},
};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long Postgres may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A look that is older says nothing any more.
const FRESH: Duration = Duration::from_secs(15);

/// The transactions by which a batch comes into the tables.
const OF_BATCHES: [&str; 5] =
    ["commit_batch", "read_standing", "read_for_refold", "read_checkpoints", "create_checkpoints"];

/// What was seen of a running service.
#[derive(Debug)]
pub struct Health {
    view: Arc<ConsumerView>,
    board: Arc<Board>,
    /// The consumer's.
    store: Store,
    /// With one connection of its own, which nobody else can use up.
    probe: Store,
    stalled_after: Duration,
    batch_wait: Duration,
    last: Mutex<LastLook>,
}

#[derive(Clone, Debug)]
struct LastLook {
    at: Instant,
    postgres: PostgresHealth,
    stuck: Vec<Stuck>,
}

/// How Postgres answered last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresHealth {
    pub connected: bool,
    /// None before the first question.
    pub last_check_at: Option<DateTime<Utc>>,
    /// Of the last question that failed, also if others were answered since.
    pub last_error: Option<String>,
    /// As of the last answer.
    pub migrations: Option<MigrationState>,
}

impl Health {
    /// Of the consumer of this view, which has this store, and of the parts on this board.
    pub fn new(config: &Config, view: Arc<ConsumerView>, store: Store, board: Arc<Board>) -> Self {
        let probe = open_store_with(config, 1, PATIENCE);
        let last = LastLook { at: Instant::now(), postgres: PostgresHealth::default(), stuck: Vec::new() };
        Self {
            view,
            board,
            store,
            probe,
            stalled_after: config.health.stalled_after,
            batch_wait: config.batch.max_wait,
            last: Mutex::new(last),
        }
    }

    /// Looks again and again, for ever.
    async fn look_again_and_again(&self) {
        let mut watchdog = Watchdog::new(self.stalled_after, self.batch_wait);
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let answer = tokio::time::timeout(PATIENCE, self.probe.migration_state()).await;
            let answer = answer.unwrap_or_else(|_| Err(StoreError::silent()));
            if answer.is_ok() {
                // Idle, the consumer wouldn't ask for long, and be unready for so long.
                self.store.note_sign_of_life();
            }
            self.look(&mut watchdog, answer);
        }
    }

    fn look(&self, watchdog: &mut Watchdog, answer: Result<MigrationState, StoreError>) {
        let at = Instant::now();
        let breaker = self.store.breaker().state;
        let monitor = self.view.monitor();
        let stuck = watchdog.see(&Sighting {
            at,
            standing: &monitor.progress.standing(),
            paused: monitor.progress.is_paused(),
            postgres_answers: answer.is_ok() && breaker == BreakerState::Closed,
            work: self.work(&monitor),
        });
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !stuck.is_empty() && last.stuck != stuck {
            tracing::error!(stuck = in_words(&stuck), patience = ?self.stalled_after, "work stands still");
        }
        (last.at, last.stuck) = (at, stuck);
        last.postgres.connected = answer.is_ok();
        last.postgres.last_check_at = Some(Utc::now());
        match answer {
            Ok(migrations) => last.postgres.migrations = Some(migrations),
            Err(error) => last.postgres.last_error = Some(error.to_string()),
        }
    }

    fn work(&self, monitor: &Monitor) -> Work {
        let totals = monitor.counts.totals();
        let mut work =
            Work { in_hand: monitor.in_hand(), ended: totals.batches + totals.conflicts + totals.fences, under_way: 0 };
        for (_, of) in self.store.statistics().into_iter().filter(|(name, _)| OF_BATCHES.contains(name)) {
            work.ended += of.commits + of.retries + of.failures;
            work.under_way += of.under_way;
        }
        work
    }

    fn last(&self) -> LastLook {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn postgres(&self) -> PostgresHealth {
        self.last().postgres
    }

    /// Why the consumer should be begun anew, as far as anybody looks; none where it gets on.
    pub(super) fn why_stuck(&self) -> Option<String> {
        let reasons = self.why_consumer_is_stuck(&self.last());
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn why_consumer_is_stuck(&self, last: &LastLook) -> Vec<String> {
        let silent_for = self.view.monitor().progress.silent_for();
        // What was seen long ago may be over.
        let stuck = last.stuck.iter().filter(|_| last.at.elapsed() <= FRESH);
        let mut reasons: Vec<String> = stuck.map(ToString::to_string).collect();
        if silent_for > self.stalled_after {
            reasons.push(format!("the polling thread has been silent for {} s", silent_for.as_secs()));
        }
        reasons
    }

    /// Why the program should be started again; nothing where it lives.
    pub fn why_not_live(&self) -> Vec<String> {
        let last = self.last();
        let mut reasons = self.why_consumer_is_stuck(&last);
        for part in self.board.down_for(self.stalled_after) {
            reasons.push(format!("{part} has been down for more than {} s", self.stalled_after.as_secs()));
        }
        if last.at.elapsed() > FRESH {
            reasons.push(format!("health was last looked at {} s ago", last.at.elapsed().as_secs()));
        }
        reasons
    }

    /// Why nothing should rely on this instance now; nothing where it is ready.
    pub fn why_not_ready(&self) -> Vec<String> {
        let (last, monitor) = (self.last(), self.view.monitor());
        let standing = monitor.progress.standing();
        let mut reasons = Vec::new();
        if monitor.stopper.is_stopped() {
            reasons.push("it is stopping".to_owned());
        }
        if let Some(state) = self.board.parts().get(Consuming::NAME).map(|part| part.state)
            && state != PartState::Up
        {
            reasons.push(format!("the consumer is {}", state.as_str()));
        }
        if standing.assigned.is_none() {
            reasons.push("the group has not assigned partitions".to_owned());
        }
        if last.postgres.last_check_at.is_none() || last.at.elapsed() > FRESH {
            reasons.push("Postgres has not been asked".to_owned());
        } else if !last.postgres.connected {
            reasons.push("Postgres does not answer".to_owned());
        }
        match last.postgres.migrations {
            Some(MigrationState::Missing(count)) => reasons.push(format!("{count} migrations are missing")),
            Some(MigrationState::Newer) => reasons.push("the tables are a newer version's".to_owned()),
            Some(MigrationState::Current) | None => {}
        }
        // Half-open it probes, with what is to be committed.
        if self.store.breaker().state == BreakerState::Open {
            reasons.push("the circuit breaker is open".to_owned());
        }
        let halted = standing.partitions.iter().filter(|(_, standing)| standing.halted);
        reasons
            .extend(halted.map(|(partition, _)| format!("{partition} is halted: its checkpoint is outside its log")));
        reasons
    }
}

impl Part for Health {
    const NAME: &'static str = "health";

    async fn run(&self, mut stop: Stop) -> Ended {
        tokio::select! {
            () = self.look_again_and_again() => {}
            () = stop.asked() => {}
        }
        Ended::Done
    }

    fn probe(&self) -> Result<(), String> {
        let age = self.last().at.elapsed();
        if age > FRESH { Err(format!("it last looked {} s ago", age.as_secs())) } else { Ok(()) }
    }
}

fn in_words(stuck: &[Stuck]) -> String {
    stuck.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
