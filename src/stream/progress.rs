//! How far reading came, for anybody to see.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::record::{NextOffset, TopicPartition};

use super::standing::ReadStanding;

/// The polling thread hasn't turned yet.
const NEVER: u64 = u64::MAX;

/// How far reading came. Updated by the polling thread, read by anybody.
#[derive(Debug)]
pub struct ReadProgress {
    begun: Instant,
    /// When the polling thread last showed that it lives: milliseconds since `begun`.
    beat: AtomicU64,
    read: AtomicU64,
    first_read_at: OnceLock<Instant>,
    discarded: AtomicU64,
    /// Microseconds.
    receiving: AtomicU64,
    paused: AtomicBool,
    standing: Mutex<ReadStanding>,
    log_ends: Mutex<Option<SeenEnds>>,
}

/// When the ends of logs were seen, and where.
pub type SeenEnds = (Instant, Vec<(TopicPartition, NextOffset)>);

impl Default for ReadProgress {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            beat: AtomicU64::new(NEVER),
            read: AtomicU64::default(),
            first_read_at: OnceLock::default(),
            discarded: AtomicU64::default(),
            receiving: AtomicU64::default(),
            paused: AtomicBool::default(),
            standing: Mutex::default(),
            log_ends: Mutex::default(),
        }
    }
}

impl ReadProgress {
    /// Goes on counting where another, whose reading has ended, stopped; so many of its records were let go at its end.
    #[must_use]
    pub fn after(before: &Self, let_go: u64) -> Self {
        let progress = Self {
            read: AtomicU64::new(before.read()),
            discarded: AtomicU64::new(before.discarded() + let_go),
            receiving: AtomicU64::new(before.receiving.load(Ordering::Relaxed)),
            ..Self::default()
        };
        if let Some(first) = before.first_read_at() {
            progress.first_read_at.get_or_init(|| first);
        }
        progress
    }

    /// How long ago the polling thread last turned its loop, or got an answer within a turn.
    /// Nothing before its first turn.
    pub fn silent_for(&self) -> Duration {
        let beat = self.beat.load(Ordering::Relaxed);
        if beat == NEVER {
            return Duration::ZERO;
        }
        let beat = Duration::from_millis(beat);
        self.begun.elapsed().saturating_sub(beat)
    }

    pub(super) fn beat(&self) {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.beat.store(millis, Ordering::Relaxed);
    }

    /// Records taken from Kafka.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// When the first record came.
    pub fn first_read_at(&self) -> Option<Instant> {
        self.first_read_at.get().copied()
    }

    /// Records that were read and then let go, since their partition was taken away; whoever has it reads them again.
    pub fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    /// How long it took to take records from librdkafka and decode them.
    pub fn receiving_time(&self) -> Duration {
        Duration::from_micros(self.receiving.load(Ordering::Relaxed))
    }

    pub(super) fn add_receiving_time(&self, time: Duration) {
        self.receiving.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether fetching stands still because the pipeline can't keep up.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Records between the position and the end of the log, over all partitions; none before Kafka told the ends.
    pub fn lag(&self) -> Option<u64> {
        let standing = self.lock_standing();
        let mut lags = standing.partitions.values().filter_map(|partition| partition.lag).peekable();
        lags.peek().is_some().then(|| lags.sum())
    }

    /// How reading stands; as of librdkafka's last statistics, which come once a second.
    pub fn standing(&self) -> ReadStanding {
        self.lock_standing().clone()
    }

    fn lock_standing(&self) -> MutexGuard<'_, ReadStanding> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ends of the logs of the assigned partitions, and when the broker told them; none before it did.
    pub fn log_ends(&self) -> Option<SeenEnds> {
        self.log_ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a record that was taken from Kafka.
    pub fn add_read(&self) {
        self.first_read_at.get_or_init(Instant::now);
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts records that were read and let go.
    pub fn add_discarded(&self, records: u64) {
        self.discarded.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(super) fn set_standing(&self, standing: ReadStanding) {
        *self.lock_standing() = standing;
    }

    /// These partitions are no longer this member's.
    pub(super) fn forget(&self, partitions: &[TopicPartition]) {
        let mut standing = self.lock_standing();
        standing.partitions.retain(|partition, _| !partitions.contains(partition));
    }

    pub(super) fn set_log_ends(&self, ends: Vec<(TopicPartition, NextOffset)>) {
        *self.log_ends.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), ends));
    }
}
