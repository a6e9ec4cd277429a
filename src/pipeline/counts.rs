//! The conservation law: every record that was read was applied, a duplicate, rejected, ignored, or a dead letter.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    event::Reason,
    fold::{Outcome, Rejection},
};

/// What became of records that were committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub applied: u64,
    pub duplicates: u64,
    /// Of kinds that the configuration says to ignore, or of sessions that were deleted.
    pub ignored: u64,
    /// What the aggregator rejected, kept as dead letters or not.
    pub rejected: BTreeMap<Rejection, u64>,
    pub(super) dead_letters: [u64; Reason::ALL.len()],
    pub batches: u64,
    /// How often a session had changed since it was read, so that the batch was folded again.
    pub conflicts: u64,
    /// How often a checkpoint had moved, so that the batch was let go.
    pub fences: u64,
    /// How many partitions halted, since their checkpoints lie outside their logs.
    pub halted: u64,
}

impl Totals {
    pub fn dead_letters(&self) -> u64 {
        self.dead_letters.iter().sum()
    }

    /// The reasons that occurred, with how often.
    pub fn dead_letters_by_reason(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.dead_letters).filter(|(_, count)| *count > 0)
    }

    /// The same as a text: `schema 3, too_large 1`.
    pub fn dead_letter_reasons(&self) -> String {
        let reasons = self.dead_letters_by_reason().map(|(reason, count)| format!("{} {count}", reason.as_str()));
        reasons.collect::<Vec<_>>().join(", ")
    }

    /// All events that the aggregator rejected.
    pub fn rejected(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// All records whose fate is known.
    pub fn records(&self) -> u64 {
        self.applied + self.duplicates + self.rejected() + self.ignored + self.dead_letters()
    }

    /// Takes in what became of a batch's events, once.
    pub(super) fn take(&mut self, outcome: &Outcome) {
        self.applied = outcome.applied;
        self.duplicates = outcome.duplicates;
        // Beside the records that are no events.
        self.ignored += outcome.ignored;
        self.rejected.clear();
        for (_, rejection) in &outcome.rejected {
            *self.rejected.entry(*rejection).or_default() += 1;
        }
    }

    pub(super) fn add_dead_letter(&mut self, reason: Reason) {
        let index = Reason::ALL.iter().position(|known| *known == reason);
        self.dead_letters[index.unwrap_or(0)] += 1;
    }

    pub(super) fn add(&mut self, other: &Totals) {
        self.applied += other.applied;
        self.duplicates += other.duplicates;
        self.ignored += other.ignored;
        for (rejection, count) in &other.rejected {
            *self.rejected.entry(*rejection).or_default() += count;
        }
        self.batches += other.batches;
        self.conflicts += other.conflicts;
        self.fences += other.fences;
        self.halted += other.halted;
        for (sum, count) in self.dead_letters.iter_mut().zip(other.dead_letters) {
            *sum += count;
        }
    }
}

/// Running totals, to be looked at from anywhere. A batch is added as a whole.
#[derive(Debug, Default)]
pub struct Counts(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    totals: Totals,
    last_commit_at: Option<Instant>,
    last_batch: u64,
    times: BTreeMap<Station, Duration>,
}

/// Where a batch spends its time in the pipeline, tries that fail included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Station {
    /// Asking the tables what stands, where the cache doesn't know.
    LookUp,
    Fold,
    Commit,
}

impl Station {
    pub const ALL: [Self; 3] = [Self::LookUp, Self::Fold, Self::Commit];

    pub fn as_str(self) -> &'static str {
        match self {
            Station::LookUp => "look_up",
            Station::Fold => "fold",
            Station::Commit => "commit",
        }
    }
}

impl Counts {
    pub fn totals(&self) -> Totals {
        self.lock().totals.clone()
    }

    /// When the last batch was committed.
    pub fn last_commit_at(&self) -> Option<Instant> {
        self.lock().last_commit_at
    }

    /// Records in the last batch that was committed; 0 before the first.
    pub fn last_batch(&self) -> u64 {
        self.lock().last_batch
    }

    /// How long batches have been at a station.
    pub fn time_at(&self, station: Station) -> Duration {
        self.lock().times.get(&station).copied().unwrap_or_default()
    }

    pub(super) fn add(&self, totals: &Totals) {
        let mut running = self.lock();
        running.totals.add(totals);
        if totals.batches > 0 {
            running.last_commit_at = Some(Instant::now());
            running.last_batch = totals.records();
        }
    }

    /// Times something at a station.
    pub(super) async fn timed<T>(&self, station: Station, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        *self.lock().times.entry(station).or_default() += begun.elapsed();
        done
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
