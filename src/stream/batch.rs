//! Decoded records on their way from the polling thread to the pipeline.

use std::{
    iter::Sum,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    event::{Decoded, Event, RecordTimestamp, Refusal},
    record::{NextOffset, Record, RecordOffset},
};

use super::{items::Items, lease::Lease};

/// When a batch must go.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    pub max_events: usize,
    /// Of the records' keys and values, and the headers of those that are kept.
    pub max_bytes: usize,
    /// How old a batch may grow, from its first record on.
    pub max_wait: Duration,
}

/// The records of one partition in a batch.
#[derive(Clone, Debug)]
pub struct Slice {
    pub lease: Lease,
    /// Where the partition's checkpoint stands if nobody else wrote it.
    pub expected: NextOffset,
}

/// One record of a batch.
#[derive(Clone, Debug)]
pub struct Item {
    /// Index into [`Batch::slices`].
    pub slice: usize,
    pub offset: RecordOffset,
    pub timestamp: Option<RecordTimestamp>,
    /// See [`Content::bytes`].
    pub bytes: usize,
    pub content: Content,
}

/// What a record came to, with what may still be asked for.
///
/// Events lie one behind the other, as they are walked through.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all contents are events")]
pub enum Content {
    /// A copy of the record would be half of the memory, and is asked for only if the event becomes a dead letter after
    /// all. So most are without; where one is needed, it is read again.
    Event {
        event: Event,
        record: Option<Box<Record>>,
    },
    Ignored,
    Refused {
        refusal: Box<Refusal>,
        record: Box<Record>,
    },
}

impl Content {
    /// Copies the record where it is needed, or wanted.
    pub fn of(decoded: Decoded, keep_record: bool, copy: impl FnOnce() -> Record) -> Self {
        match decoded {
            Decoded::Event(event) => Self::Event { event, record: keep_record.then(|| Box::new(copy())) },
            Decoded::Ignored => Self::Ignored,
            Decoded::Refused(refusal) => Self::Refused { refusal: Box::new(refusal), record: Box::new(copy()) },
        }
    }

    /// What it counts against the limit of bytes: the record where it is kept, else `sent`, the length of its key and value.
    pub fn bytes(&self, sent: usize) -> usize {
        match self {
            Self::Event { record: Some(record), .. } | Self::Refused { record, .. } => record.bytes(),
            Self::Event { record: None, .. } | Self::Ignored => sent,
        }
    }
}

/// Records in the order in which they were read. Within a slice they are consecutive: none between was left out.
#[derive(Debug, Default)]
pub struct Batch {
    pub slices: Vec<Slice>,
    pub items: Items,
    /// Held until the batch is dropped, which is when its fate is known.
    in_flight: Option<InFlight>,
}

/// So many records, and how many bytes they count for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Amount {
    /// Whether this is `times` what the limits allow, or more.
    pub(super) fn reaches(self, times: usize, limits: &BatchLimits) -> bool {
        self.events >= limits.max_events.saturating_mul(times) || self.bytes >= limits.max_bytes.saturating_mul(times)
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |sum, Amount { events, bytes }| Self {
            events: sum.events + events,
            bytes: sum.bytes + bytes,
        })
    }
}

/// What was handed over and whose fate isn't known yet.
#[derive(Debug, Default)]
pub(super) struct InFlightCount(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    batches: AtomicUsize,
    events: AtomicUsize,
    bytes: AtomicUsize,
}

impl InFlightCount {
    /// What the pipeline said before it dropped the last batch can be heard once this is true.
    pub(super) fn is_zero(&self) -> bool {
        self.0.batches.load(Ordering::Acquire) == 0
    }

    pub(super) fn amount(&self) -> Amount {
        Amount { events: self.0.events.load(Ordering::Relaxed), bytes: self.0.bytes.load(Ordering::Relaxed) }
    }

    fn begin(&self, amount: Amount) -> InFlight {
        self.0.batches.fetch_add(1, Ordering::Relaxed);
        self.0.events.fetch_add(amount.events, Ordering::Relaxed);
        self.0.bytes.fetch_add(amount.bytes, Ordering::Relaxed);
        InFlight { counters: Arc::clone(&self.0), amount }
    }
}

#[derive(Debug)]
struct InFlight {
    counters: Arc<Counters>,
    amount: Amount,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counters.events.fetch_sub(self.amount.events, Ordering::Relaxed);
        self.counters.bytes.fetch_sub(self.amount.bytes, Ordering::Relaxed);
        self.counters.batches.fetch_sub(1, Ordering::Release);
    }
}

impl Batch {
    /// Each item names one of the slices; those of one slice are consecutive in their partition, from where the slice
    /// expects the checkpoint.
    pub fn new(slices: Vec<Slice>, items: impl IntoIterator<Item = Item>) -> Self {
        Self { slices, items: items.into_iter().collect(), in_flight: None }
    }

    /// Takes out the records from `start` on whose slices `keep` refuses, and those before `start` with them. Returns how
    /// many were refused; where none is, all stay.
    pub fn retain_slices(&mut self, start: usize, keep: impl Fn(&Slice) -> bool) -> u64 {
        let kept: Vec<bool> = self.slices.iter().map(keep).collect();
        let is_kept = |item: &Item| kept[item.slice];
        // Nearly always all are, and a look at the slices says so.
        if kept.iter().all(|kept| *kept) || self.items.range(start..self.items.len()).all(is_kept) {
            return 0;
        }
        let before = self.items.len() - start;
        self.items = std::mem::take(&mut self.items).into_iter().skip(start).filter(is_kept).collect();
        (before - self.items.len()) as u64
    }
}

/// A batch that is being filled.
#[derive(Debug)]
pub(super) struct BatchBuilder {
    limits: BatchLimits,
    batch: Batch,
    bytes: usize,
    begun: Option<Instant>,
}

impl BatchBuilder {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self { limits, batch: Batch::default(), bytes: 0, begun: None }
    }

    pub(super) fn set_limits(&mut self, limits: BatchLimits) {
        self.limits = limits;
    }

    /// Adds a record, made when its slice is known, of a partition where reading had come to `position` before.
    pub(super) fn push(&mut self, lease: &Lease, position: NextOffset, item: impl FnOnce(usize) -> Item) {
        let known = self.batch.slices.iter().position(|slice| slice.lease == *lease);
        let slice = known.unwrap_or_else(|| {
            self.batch.slices.push(Slice { lease: lease.clone(), expected: position });
            self.batch.slices.len() - 1
        });
        let item = item(slice);
        self.bytes += item.bytes;
        self.begun.get_or_insert_with(Instant::now);
        self.batch.items.push(item);
    }

    pub(super) fn amount(&self) -> Amount {
        Amount { events: self.batch.items.len(), bytes: self.bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.items.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.amount().reaches(1, &self.limits)
    }

    pub(super) fn is_due(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }

    /// How long until [`Self::is_due`]; none where there is no record.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.begun.map(|begun| self.limits.max_wait.saturating_sub(begun.elapsed()))
    }

    /// Hands out the batch, counted as in flight, and starts another.
    pub(super) fn take(&mut self, count: &InFlightCount) -> Batch {
        let amount = self.amount();
        let mut batch = self.clear();
        batch.in_flight = Some(count.begin(amount));
        batch
    }

    fn clear(&mut self) -> Batch {
        self.bytes = 0;
        self.begun = None;
        std::mem::take(&mut self.batch)
    }

    /// Takes out the records of leases that ended; returns how many.
    pub(super) fn discard(&mut self, ended: impl Fn(&Lease) -> bool) -> u64 {
        let discarded = self.batch.retain_slices(0, |slice| !ended(&slice.lease));
        self.bytes = self.batch.items.iter().map(|item| item.bytes).sum();
        if self.is_empty() {
            self.clear();
        }
        discarded
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        event::{Decoder, WireRecord},
        record::Header,
    };

    use super::*;

    #[test]
    fn a_record_counts_with_its_headers_where_it_is_kept_and_else_as_long_as_its_key_and_value() {
        let header = Header { key: b"trace".as_slice().into(), value: Some(b"1234".as_slice().into()) };
        let record =
            || Record { value: Some(b"bad".as_slice().into()), headers: vec![header.clone()], ..Record::default() };
        let refused = Decoder::default().decode(WireRecord { value: Some(b"bad"), ..WireRecord::default() });
        assert_eq!(Content::of(refused, false, record).bytes(3), record().bytes());
        assert!(record().bytes() > 3 + 5 + 4);
        assert_eq!(Content::of(Decoded::Ignored, false, record).bytes(3), 3);
    }
}
