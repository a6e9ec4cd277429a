//! Spans that wait to be sent.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::Span;

/// Spans that wait to be sent, so many at most. Whoever brings some never waits: what there is no room for is dropped and
/// counted.
#[derive(Debug)]
pub struct SpanQueue {
    waiting: Mutex<VecDeque<Span>>,
    most: usize,
    arrived: Notify,
    sent: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

/// Why a span wasn't sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// There was no room in the queue: the collector is away, or slower than spans come.
    QueueFull,
    /// The collector doesn't want it.
    Refused,
    /// The collector didn't take it in time.
    GivenUp,
}

impl DropReason {
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::Refused, Self::GivenUp];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::GivenUp => "given_up",
        }
    }
}

impl SpanQueue {
    pub fn new(most: NonZeroUsize) -> Self {
        Self {
            waiting: Mutex::default(),
            most: most.get(),
            arrived: Notify::new(),
            sent: AtomicU64::new(0),
            dropped: Default::default(),
        }
    }

    /// Adds spans, the first ones first, as long as there is room.
    pub fn push(&self, spans: Vec<Span>) {
        let mut waiting = self.lock();
        let (came, room) = (spans.len(), self.most.saturating_sub(waiting.len()));
        waiting.extend(spans.into_iter().take(room));
        drop(waiting);
        self.turn_away(came.saturating_sub(room));
        self.arrived.notify_one();
    }

    /// Counts spans that nobody needs to bring, since there would be no room for them.
    pub fn turn_away(&self, spans: usize) {
        self.count_dropped(DropReason::QueueFull, spans);
    }

    /// How many more may wait.
    pub fn room(&self) -> usize {
        self.most.saturating_sub(self.len())
    }

    /// Waits until there are spans, and then for company: until there are so many, or so much time has passed.
    pub async fn filled(&self, enough: usize, linger: Duration) {
        while self.is_empty() {
            self.arrived.notified().await;
        }
        let company = async {
            while self.len() < enough {
                self.arrived.notified().await;
            }
        };
        // Those that are there go without it.
        let _ = tokio::time::timeout(linger, company).await;
    }

    /// Takes out the first ones, so many at most; none where there are none.
    pub fn take(&self, most: usize) -> Option<TakenSpans<'_>> {
        let mut waiting = self.lock();
        let count = waiting.len().min(most);
        let spans: Vec<Span> = waiting.drain(..count).collect();
        (!spans.is_empty()).then_some(TakenSpans { queue: self, spans })
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Spans that the collector has taken.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Spans that were dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    fn count_dropped(&self, reason: DropReason, count: usize) {
        self.dropped[reason as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Span>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Spans on their way. Dropped before their fate is known, they are counted as given up.
#[must_use]
#[derive(Debug)]
pub struct TakenSpans<'q> {
    queue: &'q SpanQueue,
    spans: Vec<Span>,
}

impl TakenSpans<'_> {
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The collector wants none of them.
    pub fn refused(self) {
        self.delivered(usize::MAX);
    }

    /// The collector has them, but for so many that it refused.
    pub fn delivered(mut self, refused: usize) {
        let count = std::mem::take(&mut self.spans).len();
        let refused = refused.min(count);
        self.queue.sent.fetch_add((count - refused) as u64, Ordering::Relaxed);
        self.queue.count_dropped(DropReason::Refused, refused);
    }
}

impl Drop for TakenSpans<'_> {
    fn drop(&mut self) {
        self.queue.count_dropped(DropReason::GivenUp, self.spans.len());
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use uuid::Uuid;

    use super::*;
    use crate::traces::{SpanBody, SpanId, SpanPlace, StationSpan, TraceId};

    const LONG: Duration = Duration::from_secs(3_600);

    /// As many spans, whose trace ids count on from this one.
    fn spans(from: u128, count: u128) -> Vec<Span> {
        let span = |number| {
            let trace_id = TraceId::of(Uuid::from_u128(number)).unwrap();
            let place = SpanPlace { trace_id, span_id: SpanId::random() };
            let station = StationSpan { batch: SpanId::random(), name: "fold", asks_postgres: false, failure: None };
            let at = SystemTime::now();
            Span { place, begun_at: at, ended_at: at, body: SpanBody::Station(station) }
        };
        (from..from + count).map(span).collect()
    }

    fn queue(most: usize) -> SpanQueue {
        SpanQueue::new(NonZeroUsize::new(most).unwrap())
    }

    fn counts(queue: &SpanQueue) -> (u64, [u64; 3], usize) {
        (queue.sent(), DropReason::ALL.map(|reason| queue.dropped(reason)), queue.len())
    }

    #[test]
    fn what_there_is_no_room_for_is_dropped_and_the_rest_goes_in_order() {
        let queue = queue(3);
        queue.push(spans(1, 2));
        queue.push(spans(3, 4));
        assert_eq!(counts(&queue), (0, [3, 0, 0], 3));
        let numbers =
            |taken: &TakenSpans<'_>| taken.spans().iter().map(|span| span.place.trace_id.get()).collect::<Vec<_>>();
        let taken = queue.take(2).unwrap();
        assert_eq!(numbers(&taken), [1, 2]);
        taken.delivered(0);
        let taken = queue.take(2).unwrap();
        assert_eq!(numbers(&taken), [3]);
        taken.delivered(0);
        assert!(queue.take(2).is_none());
        assert_eq!(counts(&queue), (3, [3, 0, 0], 0));
    }

    #[test]
    fn every_span_is_sent_refused_given_up_or_waits() {
        let queue = queue(10);
        queue.push(spans(1, 10));
        queue.take(4).unwrap().delivered(1);
        queue.take(3).unwrap().refused();
        drop(queue.take(2).unwrap());
        assert_eq!(counts(&queue), (3, [0, 4, 2], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn spans_wait_for_company_but_not_for_long() {
        let queue = queue(10);
        let filled = |queue, linger| tokio::time::timeout(LONG / 2, SpanQueue::filled(queue, 3, linger));
        assert!(filled(&queue, Duration::from_secs(1)).await.is_err(), "there is nothing to wait with");
        queue.push(spans(1, 1));
        assert!(filled(&queue, Duration::from_secs(1)).await.is_ok());
        assert!(filled(&queue, LONG).await.is_err());
        queue.push(spans(2, 2));
        assert!(filled(&queue, LONG).await.is_ok());
    }
}
