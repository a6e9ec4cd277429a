//! How far reading came, for anybody to see.

use std::{
    collections::HashMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::record::{NextOffset, TopicPartition};

/// How far reading came. Updated by the polling thread, read by anybody.
#[derive(Debug, Default)]
pub struct ReadProgress {
    read: AtomicU64,
    first_read_at: OnceLock<Instant>,
    discarded: AtomicU64,
    paused: AtomicBool,
    lag: Mutex<HashMap<TopicPartition, u64>>,
    log_ends: Mutex<Option<SeenEnds>>,
}

/// When the ends of logs were seen, and where.
pub type SeenEnds = (Instant, Vec<(TopicPartition, NextOffset)>);

impl ReadProgress {
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

    /// Whether fetching stands still because the pipeline can't keep up.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Records between the position and the end of the log, over all partitions; none before Kafka told the ends.
    pub fn lag(&self) -> Option<u64> {
        let lag = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        (!lag.is_empty()).then(|| lag.values().sum())
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

    pub(super) fn set_lag(&self, lag: HashMap<TopicPartition, u64>) {
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = lag;
    }

    pub(super) fn set_log_ends(&self, ends: Vec<(TopicPartition, NextOffset)>) {
        *self.log_ends.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), ends));
    }
}
