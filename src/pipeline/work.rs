//! A batch that is being committed, from its front on.

use std::sync::Arc;

use crate::{
    event::{Event, Reason, Refusal},
    fold::{Fate, Rejection},
    record::{NextOffset, Record, RecordOffset, TopicPartition},
    store::{CheckpointMove, DeadLetter},
    stream::{Batch, Content, Item, Lease, ReadProgress, Slice},
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

    fn left(&self) -> impl DoubleEndedIterator<Item = &Item> + Clone {
        self.batch.items.range(self.done..self.batch.items.len())
    }

    /// The first `count` items that aren't committed yet.
    pub(super) fn front(&self, count: usize) -> Front<'_> {
        Front { batch: &self.batch, start: self.done, end: self.done + count }
    }

    /// Marks the first `count` items as committed: their slices go on where they end.
    pub(super) fn advance(&mut self, count: usize) {
        for item in self.batch.items.range(self.done..self.done + count) {
            self.batch.slices[item.slice].expected = item.offset.next();
        }
        self.done += count;
    }

    /// Lets go of the slices that `keep` refuses; returns how many items that were.
    pub(super) fn retain(&mut self, keep: impl Fn(&Slice) -> bool) -> u64 {
        let refused = self.batch.retain_slices(self.done, keep);
        if refused > 0 {
            self.done = 0;
        }
        refused
    }

    /// Makes a dead letter of the first item.
    pub(super) fn condemn_first(&mut self, refusal: Refusal) -> Condemned {
        let Some(Item { slice, content, .. }) = self.batch.items.get_mut(self.done) else { return Condemned::NoEvent };
        let Content::Event { record, .. } = content else { return Condemned::NoEvent };
        let Some(record) = record.take() else {
            return Condemned::NotKept(self.batch.slices[*slice].lease.partition().clone());
        };
        *content = Content::Refused { refusal: Box::new(refusal), record };
        Condemned::Done
    }

    /// Whether none of its events could become a dead letter. Where some could, the others are dealt with as they come:
    /// a batch that is read again may reach further than before.
    pub(super) fn lacks_records(&self) -> bool {
        let mut events = self.left().filter_map(|item| match &item.content {
            Content::Event { record, .. } => Some(record),
            Content::Ignored | Content::Refused { .. } => None,
        });
        events.next().is_some_and(Option::is_none) && events.all(Option::is_none)
    }

    /// Of what isn't committed yet.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.front(self.len()).leases().map(|lease| lease.partition().clone()).collect()
    }

    /// Where what is left of these partitions ends.
    pub(super) fn ends(&self, partitions: &[TopicPartition]) -> Vec<(TopicPartition, NextOffset)> {
        let left = self.left();
        let of_slice = |(index, slice): (usize, &Slice)| {
            let partition = slice.lease.partition();
            let last = left.clone().rfind(|item| item.slice == index).filter(|_| partitions.contains(partition))?;
            Some((partition.clone(), last.offset.next()))
        };
        self.batch.slices.iter().enumerate().filter_map(of_slice).collect()
    }
}

/// What came of the wish to make a dead letter of an item.
#[must_use]
pub(super) enum Condemned {
    Done,
    /// It can't be one: it was no event.
    NoEvent,
    /// Its record wasn't kept; this partition must be read again.
    NotKept(TopicPartition),
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
    batch: &'w Batch,
    /// Which of the batch's.
    start: usize,
    end: usize,
}

impl<'w> Front<'w> {
    fn items(self) -> impl DoubleEndedIterator<Item = &'w Item> + Clone {
        self.batch.items.range(self.start..self.end)
    }

    fn slice(self, item: &Item) -> &'w Slice {
        &self.batch.slices[item.slice]
    }

    pub(super) fn leases(self) -> impl Iterator<Item = &'w Lease> + Clone {
        let used = move |(index, _): &(usize, _)| self.items().any(|item| item.slice == *index);
        self.batch.slices.iter().enumerate().filter(used).map(|(_, slice)| &slice.lease)
    }

    pub(super) fn events(self) -> impl Iterator<Item = &'w Event> {
        self.items().filter_map(|item| match &item.content {
            Content::Event { event, .. } => Some(event),
            Content::Ignored | Content::Refused { .. } => None,
        })
    }

    /// The events, with where each stands in its log.
    pub(super) fn placed_events(self) -> impl Iterator<Item = (&'w TopicPartition, &'w Item, &'w Event)> {
        self.items().filter_map(move |item| match &item.content {
            Content::Event { event, .. } => Some((self.slice(item).lease.partition(), item, event)),
            Content::Ignored | Content::Refused { .. } => None,
        })
    }

    /// From where each partition's checkpoint goes to where.
    pub(super) fn moves(self) -> Vec<CheckpointMove> {
        let mut ends: Vec<Option<NextOffset>> = vec![None; self.batch.slices.len()];
        for item in self.items() {
            ends[item.slice] = Some(item.offset.next());
        }
        let step = |(Slice { lease, expected }, end): (&Slice, Option<NextOffset>)| {
            Some(CheckpointMove { partition: lease.partition().clone(), expected: *expected, next: end? })
        };
        let mut moves: Vec<_> = self.batch.slices.iter().zip(ends).filter_map(step).collect();
        moves.sort_unstable_by(|a, b| a.partition.cmp(&b.partition));
        moves
    }

    pub(super) fn dead_letters(self) -> Vec<DeadLetter<'w>> {
        let letter = |item: &'w Item| match &item.content {
            Content::Refused { refusal, record } => {
                Some(DeadLetter { partition: self.slice(item).lease.partition(), offset: item.offset, record, refusal })
            }
            Content::Event { .. } | Content::Ignored => None,
        };
        self.items().filter_map(letter).collect()
    }

    /// The items behind these events, which the aggregator rejected.
    ///
    /// # Errors
    /// The partitions of those whose records weren't kept.
    pub(super) fn rejected(
        self,
        rejected: &[(usize, Rejection)],
    ) -> Result<Vec<RejectedItem<'w>>, Vec<TopicPartition>> {
        let mut events = self
            .items()
            .filter_map(|item| match &item.content {
                Content::Event { record, .. } => Some((item, record)),
                Content::Ignored | Content::Refused { .. } => None,
            })
            .enumerate();
        let (mut items, mut not_kept) = (Vec::new(), Vec::new());
        for (wanted, rejection) in rejected {
            let Some((_, (item, record))) = events.find(|(index, _)| index == wanted) else { break };
            let (partition, offset) = (self.slice(item).lease.partition(), item.offset);
            match record {
                Some(record) => {
                    let refusal = Refusal::new(Reason::Rejected, rejection.0);
                    items.push(RejectedItem { partition, offset, record, refusal });
                }
                None if not_kept.contains(partition) => {}
                None => not_kept.push(partition.clone()),
            }
        }
        if not_kept.is_empty() { Ok(items) } else { Err(not_kept) }
    }

    /// What becomes of the items that are no events.
    pub(super) fn totals(self) -> Totals {
        let mut totals = Totals { batches: 1, ..Totals::default() };
        for item in self.items() {
            match &item.content {
                Content::Event { .. } => {}
                Content::Ignored => totals.ignored += 1,
                Content::Refused { refusal, .. } => totals.add_dead_letter(refusal.reason),
            }
        }
        totals
    }
}

/// An event that the aggregator rejected, on its way to the dead letters.
#[derive(Debug)]
pub(super) struct RejectedItem<'w> {
    partition: &'w TopicPartition,
    offset: RecordOffset,
    record: &'w Record,
    refusal: Refusal,
}

impl RejectedItem<'_> {
    pub(super) fn dead_letter(&self) -> DeadLetter<'_> {
        let Self { partition, offset, record, refusal } = self;
        DeadLetter { partition, offset: *offset, record, refusal }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::{
        event::{Body, Tool, ToolName, samples},
        stream::Leases,
    };

    use super::*;

    fn event() -> Event {
        let body = Body::Tool(Tool {
            tool_execution_id: Uuid::nil(),
            tool_name: ToolName::parse("Bash").unwrap(),
            success: true,
            duration_ms: None,
            summary: None,
        });
        samples::event("s", body)
    }

    fn event_without_record() -> Content {
        Content::Event { event: event(), record: None }
    }

    fn event_with_record() -> Content {
        Content::Event { event: event(), record: Some(Box::default()) }
    }

    fn bad() -> Content {
        Content::Refused { refusal: Box::new(Refusal::new(Reason::InvalidJson, "no JSON")), record: Box::default() }
    }

    /// These contents in turns in the partitions 0 and 1, from offset 0 on.
    fn work(contents: Vec<Content>) -> Work {
        let leases = Leases::default().grant([TopicPartition::new("t", 0), TopicPartition::new("t", 1)]);
        let slices = leases.into_iter().map(|lease| Slice { lease, expected: NextOffset::new(0) }).collect();
        let item = |(index, content)| Item {
            slice: index % 2,
            offset: RecordOffset::new(i64::try_from(index / 2).unwrap()),
            timestamp: None,
            bytes: 0,
            content,
        };
        Work::new(Batch::new(slices, contents.into_iter().enumerate().map(item)), Arc::default())
    }

    fn refusal() -> Refusal {
        Refusal::new(Reason::Unstorable, "refused")
    }

    #[test]
    fn an_event_becomes_a_dead_letter_with_its_record_or_is_asked_for_again() {
        let mut kept = work(vec![event_with_record()]);
        assert!(matches!(kept.condemn_first(refusal()), Condemned::Done));
        assert_eq!(kept.front(1).dead_letters().len(), 1);
        assert!(matches!(kept.condemn_first(refusal()), Condemned::NoEvent));

        let mut not_kept = work(vec![event_without_record(), event_without_record(), event_with_record()]);
        not_kept.advance(1);
        let Condemned::NotKept(partition) = not_kept.condemn_first(refusal()) else { panic!("it has no record") };
        assert_eq!(partition, TopicPartition::new("t", 1));
        assert_eq!(not_kept.ends(&[partition]), [(TopicPartition::new("t", 1), NextOffset::new(1))]);
        assert_eq!(not_kept.ends(&not_kept.partitions()).len(), 2);
    }

    #[test]
    fn what_is_let_go_of_is_counted_without_what_is_committed_and_nothing_moves_while_all_is_kept() {
        const MANY: usize = 1_000;
        let mut work = work((0..MANY).map(|_| event_without_record()).collect());
        work.advance(301);
        assert_eq!(work.retain(|_| true), 0);
        assert_eq!((work.len(), work.front(1).moves()[0].partition.partition), (MANY - 301, 1));
        assert_eq!(work.retain(|slice| slice.lease.partition().partition == 0), 350);
        assert_eq!(work.len(), 349);
        let [of_one] = <[CheckpointMove; 1]>::try_from(work.front(349).moves()).unwrap();
        assert_eq!((of_one.expected, of_one.next), (NextOffset::new(151), NextOffset::new(500)));
        assert_eq!(work.ends(&work.partitions()), [(TopicPartition::new("t", 0), NextOffset::new(500))]);
        work.advance(349);
        assert_eq!((work.len(), work.retain(|_| false)), (0, 0));
    }

    #[test]
    fn records_are_lacking_only_where_there_are_events_and_none_has_one() {
        assert!(!work(vec![bad(), Content::Ignored]).lacks_records());
        assert!(work(vec![bad(), event_without_record()]).lacks_records());
        let mut half = work(vec![event_without_record(), event_with_record(), event_without_record()]);
        assert!(!half.lacks_records());
        half.advance(2);
        assert!(half.lacks_records());
    }

    #[test]
    fn rejected_events_are_dead_letters_unless_a_record_is_lacking() {
        let rejection = Rejection("because");
        let work = work(vec![bad(), event_with_record(), event_without_record(), event_with_record()]);
        let front = work.front(4);
        let kept = front.rejected(&[(0, rejection), (2, rejection)]).unwrap();
        let offsets: Vec<_> = kept.iter().map(|item| (item.partition.partition, item.offset.get())).collect();
        assert_eq!(offsets, [(1, 0), (1, 1)]);
        assert_eq!(front.rejected(&[(0, rejection), (1, rejection)]).unwrap_err(), [TopicPartition::new("t", 0)]);
    }
}
