//! Who may write what: a lease is one assignment of a partition to this process, from one rebalance to the next.
//!
//! The polling thread grants and ends leases; the pipeline asks before it commits. A batch that was read under a lease
//! that ended is never written (and if the pipeline doesn't know yet, the checkpoint's fence stops it).

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::record::TopicPartition;

/// One assignment of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Of this process, the only one with this number. It is compared first.
    epoch: u64,
    partition: TopicPartition,
}

impl Lease {
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }
}

/// The leases of this process.
#[derive(Debug, Default)]
pub struct Leases {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    last_epoch: u64,
    epochs: HashMap<TopicPartition, u64>,
    /// How often a partition is held by a commit that is under way.
    held: HashMap<TopicPartition, usize>,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock in a state that others couldn't go on from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a lease for each partition. An earlier one of the same partition ends.
    pub fn grant(&self, partitions: impl IntoIterator<Item = TopicPartition>) -> Vec<Lease> {
        let mut state = self.lock();
        let grant = |partition: TopicPartition| {
            state.last_epoch += 1;
            let epoch = state.last_epoch;
            state.epochs.insert(partition.clone(), epoch);
            Lease { epoch, partition }
        };
        partitions.into_iter().map(grant).collect()
    }

    /// Ends the leases of these partitions, then waits, up to `patience`, until no commit holds one of them: the next
    /// owner should find the checkpoint where we left it. Correctness doesn't hang on it, since checkpoints fence.
    pub fn end(&self, partitions: &[TopicPartition], patience: Duration) {
        let mut state = self.lock();
        for partition in partitions {
            state.epochs.remove(partition);
        }
        let deadline = Instant::now() + patience;
        while partitions.iter().any(|partition| state.held.contains_key(partition)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.released.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub fn is_current(&self, lease: &Lease) -> bool {
        self.lock().is_current(lease)
    }

    /// Holds all of these leases for a commit, or none where one has ended.
    pub fn hold<'a>(&self, leases: impl Iterator<Item = &'a Lease> + Clone) -> Option<Held<'_>> {
        let mut state = self.lock();
        if !leases.clone().all(|lease| state.is_current(lease)) {
            return None;
        }
        let partitions: Vec<_> = leases.map(|lease| lease.partition.clone()).collect();
        for partition in &partitions {
            *state.held.entry(partition.clone()).or_default() += 1;
        }
        Some(Held { leases: self, partitions })
    }
}

impl State {
    fn is_current(&self, lease: &Lease) -> bool {
        self.epochs.get(&lease.partition) == Some(&lease.epoch)
    }
}

/// Leases that a commit holds; released when dropped.
#[must_use]
#[derive(Debug)]
pub struct Held<'a> {
    leases: &'a Leases,
    partitions: Vec<TopicPartition>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.leases.lock();
        for partition in &self.partitions {
            if let Some(count) = state.held.get_mut(partition) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(partition);
                }
            }
        }
        self.leases.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    #[test]
    fn a_lease_ends_when_its_partition_is_granted_again() {
        let leases = Leases::default();
        let first = leases.grant([partition(0)]).remove(0);
        assert!(leases.is_current(&first));
        let second = leases.grant([partition(0)]).remove(0);
        assert!(!leases.is_current(&first));
        assert!(leases.is_current(&second));
    }

    #[test]
    fn a_commit_holds_all_of_its_leases_or_none() {
        let leases = Leases::default();
        let granted = leases.grant([partition(0), partition(1)]);
        leases.end(&[partition(1)], Duration::ZERO);
        assert!(leases.hold(granted.iter()).is_none());
        assert!(leases.hold(granted[..1].iter()).is_some());
    }

    #[test]
    fn ending_a_lease_waits_for_the_commit_that_holds_it() {
        let leases = Leases::default();
        let granted = leases.grant([partition(0), partition(1)]);
        let held = leases.hold(granted[..1].iter()).unwrap();
        std::thread::scope(|scope| {
            let ending = scope.spawn(|| leases.end(&[partition(0)], Duration::from_secs(60)));
            while leases.is_current(&granted[0]) {
                std::thread::yield_now();
            }
            assert!(!ending.is_finished());
            leases.end(&[partition(1)], Duration::from_secs(60)); // not held, so there is nothing to wait for
            drop(held);
            ending.join().unwrap();
        });
    }
}
