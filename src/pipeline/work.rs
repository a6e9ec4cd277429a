//! A batch that is being committed, from its front on.

use std::{collections::HashMap, ops::Range, sync::Arc};

use crate::{
    event::{Decoded, Event, Reason, Refusal},
    fold::{Fate, Rejection},
    record::{NextOffset, TopicPartition},
    store::{CheckpointMove, DeadLetter},
    stream::{Batch, Item, Lease, ReadProgress, Slice},
};

use super::counts::Totals;

/// The part of a batch that isn't committed yet.
#[derive(Debug)]
pub(super) struct Work {
    batch: Batch,
    /// How many items at the front are committed.
    done: usize,
    progress: Arc<ReadProgress>,
}

/// Where it is given up, by an error or by the end of whoever waits for it, what is left of it will be read again.
impl Drop for Work {
    fn drop(&mut self) {
        self.progress.add_discarded(self.len() as u64);
    }
}

impl Work {
    pub(super) fn new(batch: Batch, progress: Arc<ReadProgress>) -> Self {
        Self { batch, done: 0, progress }
    }

    pub(super) fn len(&self) -> usize {
        self.batch.items.len() - self.done
    }

    /// The first `count` items that aren't committed yet.
    pub(super) fn front(&self, count: usize) -> Front<'_> {
        Front { slices: &self.batch.slices, items: &self.batch.items[self.range(count)] }
    }

    fn range(&self, count: usize) -> Range<usize> {
        self.done..self.done + count
    }

    /// Marks the first `count` items as committed: their slices go on where they end.
    pub(super) fn advance(&mut self, count: usize) {
        for item in &self.batch.items[self.done..self.done + count] {
            self.batch.slices[item.slice].expected = item.offset.next();
        }
        self.done += count;
    }

    /// Lets go of the slices that `keep` refuses; returns how many items that were.
    pub(super) fn retain(&mut self, keep: impl Fn(&Slice) -> bool) -> u64 {
        self.batch.items.drain(..self.done);
        self.done = 0;
        self.batch.retain_slices(keep)
    }

    /// Makes a dead letter of the first item. False if it was no event.
    pub(super) fn condemn_first(&mut self, refusal: Refusal) -> bool {
        let first = &mut self.batch.items[self.done];
        if !matches!(first.decoded, Decoded::Event(_)) {
            return false;
        }
        first.decoded = Decoded::Refused(refusal);
        true
    }
}

/// What a try to commit some items would make of them.
#[derive(Debug)]
pub(super) struct Reckoning {
    pub(super) totals: Totals,
    /// Of each event, in their order, where somebody wants to know.
    pub(super) fates: Option<Vec<Fate>>,
}

impl Reckoning {
    /// Before the events are folded.
    pub(super) fn of(front: Front<'_>) -> Self {
        Self { totals: front.totals(), fates: None }
    }
}

/// Some items, in the order in which they were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front<'w> {
    slices: &'w [Slice],
    items: &'w [Item],
}

impl<'w> Front<'w> {
    pub(super) fn leases(self) -> impl Iterator<Item = &'w Lease> + Clone {
        let used = move |index: &usize| self.items.iter().any(|item| item.slice == *index);
        (0..self.slices.len()).filter(used).map(move |index| &self.slices[index].lease)
    }

    pub(super) fn events(self) -> impl Iterator<Item = &'w Event> {
        self.items.iter().filter_map(|item| match &item.decoded {
            Decoded::Event(event) => Some(&**event),
            Decoded::Ignored | Decoded::Refused(_) => None,
        })
    }

    /// The events, with where each stands in its log.
    pub(super) fn placed_events(self) -> impl Iterator<Item = (&'w TopicPartition, &'w Item, &'w Event)> {
        self.items.iter().filter_map(move |item| match &item.decoded {
            Decoded::Event(event) => Some((self.slices[item.slice].lease.partition(), item, &**event)),
            Decoded::Ignored | Decoded::Refused(_) => None,
        })
    }

    /// From where each partition's checkpoint goes to where.
    pub(super) fn moves(self) -> Vec<CheckpointMove> {
        let mut ends: HashMap<usize, NextOffset> = HashMap::new();
        for item in self.items {
            ends.insert(item.slice, item.offset.next());
        }
        let step = |(index, next)| {
            let Slice { lease, expected } = &self.slices[index];
            CheckpointMove { partition: lease.partition().clone(), expected: *expected, next }
        };
        let mut moves: Vec<_> = ends.into_iter().map(step).collect();
        moves.sort_unstable_by(|a, b| a.partition.cmp(&b.partition));
        moves
    }

    pub(super) fn dead_letters(self) -> Vec<DeadLetter<'w>> {
        let letter = |item: &'w Item| match &item.decoded {
            Decoded::Refused(refusal) => Some(DeadLetter {
                partition: self.slices[item.slice].lease.partition(),
                offset: item.offset,
                record: &item.record,
                refusal,
            }),
            Decoded::Event(_) | Decoded::Ignored => None,
        };
        self.items.iter().filter_map(letter).collect()
    }

    /// The items behind these events, which the aggregator rejected.
    pub(super) fn rejected(self, rejected: &[(usize, Rejection)]) -> Vec<RejectedItem<'w>> {
        let mut events = self.items.iter().filter(|item| matches!(item.decoded, Decoded::Event(_))).enumerate();
        let item = |(wanted, rejection): &(usize, Rejection)| {
            let (_, item) = events.find(|(index, _)| index == wanted)?;
            let refusal = Refusal::new(Reason::Rejected, rejection.0);
            Some(RejectedItem { partition: self.slices[item.slice].lease.partition(), item, refusal })
        };
        rejected.iter().filter_map(item).collect()
    }

    /// What becomes of the items that are no events.
    pub(super) fn totals(self) -> Totals {
        let mut totals = Totals { batches: 1, ..Totals::default() };
        for item in self.items {
            match &item.decoded {
                Decoded::Event(_) => {}
                Decoded::Ignored => totals.ignored += 1,
                Decoded::Refused(refusal) => totals.add_dead_letter(refusal.reason),
            }
        }
        totals
    }
}

/// An event that the aggregator rejected, on its way to the dead letters.
#[derive(Debug)]
pub(super) struct RejectedItem<'w> {
    partition: &'w TopicPartition,
    item: &'w Item,
    refusal: Refusal,
}

impl RejectedItem<'_> {
    pub(super) fn dead_letter(&self) -> DeadLetter<'_> {
        let Item { offset, record, .. } = self.item;
        DeadLetter { partition: self.partition, offset: *offset, record, refusal: &self.refusal }
    }
}
