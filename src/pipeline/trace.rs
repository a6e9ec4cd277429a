//! What a batch tells of itself to whoever collects traces. Where nobody does, nothing is noted.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use uuid::Uuid;

use crate::{
    event::{Event, Reason},
    fold::Fate,
    record::TopicPartition,
    store::{CommitError, Failure, StoreError},
    stream::{Batch, Item},
    traces::{
        BatchOutcome, BatchSpan, EventOutcome, EventSpan, FailureKind, Sampler, Span, SpanBody, SpanId, SpanPlace,
        SpanQueue, StationSpan, TraceId,
    },
};

use super::{
    counts::{Counts, Station, Totals},
    work::{Front, Reckoning},
};

/// A batch that is tried again for hours tells of its first stations only; it counts all of its tries.
const MOST_STATIONS: usize = 60;

/// Where a pipeline's spans go, and which events get one.
#[derive(Clone, Debug)]
pub struct Tracing {
    pub queue: Arc<SpanQueue>,
    pub sampler: Sampler,
    /// As in [`super::PipelineOptions`].
    pub group_id: Arc<str>,
}

/// The trace of one batch, which goes when it is dropped: then the batch's fate is known. Empty where nobody collects.
#[derive(Debug)]
pub(super) struct BatchTrace(Option<Box<Recording>>);

#[derive(Debug)]
struct Recording {
    tracing: Tracing,
    place: SpanPlace,
    clock: Clock,
    lane: usize,
    records: u64,
    partitions: usize,
    stations: Vec<Span>,
    tries: u64,
    failed_tries: u64,
    committed: u64,
    totals: Totals,
    revoked: u64,
    fenced: u64,
    read_again: u64,
    events: Vec<Span>,
    /// The event at the front that Postgres has refused, to be committed as a dead letter.
    condemned: Option<Span>,
}

/// Tells the time such that it never goes back within a trace.
#[derive(Clone, Copy, Debug)]
struct Clock {
    begun_at: SystemTime,
    begun: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { begun_at: SystemTime::now(), begun: Instant::now() }
    }

    fn now(self) -> SystemTime {
        self.begun_at + self.begun.elapsed()
    }
}

impl BatchTrace {
    /// Of a batch that the pipeline takes; the log calls it by this id.
    pub(super) fn begin(tracing: Option<&Tracing>, correlation_id: Uuid, lane: usize, batch: &Batch) -> Self {
        let Some((tracing, trace_id)) = tracing.zip(TraceId::of(correlation_id)) else { return Self(None) };
        Self(Some(Box::new(Recording {
            tracing: tracing.clone(),
            place: SpanPlace { trace_id, span_id: SpanId::random() },
            clock: Clock::start(),
            lane,
            records: batch.items.len() as u64,
            partitions: batch.slices.len(),
            stations: Vec::new(),
            tries: 0,
            failed_tries: 0,
            committed: 0,
            totals: Totals::default(),
            revoked: 0,
            fenced: 0,
            read_again: 0,
            events: Vec::new(),
            condemned: None,
        })))
    }

    /// Whether it has to know what becomes of each event.
    pub(super) fn wants_fates(&self) -> bool {
        self.0.as_ref().is_some_and(|recording| recording.tracing.sampler.takes_some())
    }

    /// Times something at a station, in the counts and here.
    pub(super) async fn timed<T, E>(
        &mut self,
        counts: &Counts,
        station: Station,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        for<'e> FailureKind: From<&'e E>,
    {
        let begun_at = self.0.as_ref().map(|recording| recording.clock.now());
        let result = counts.timed(station, work).await;
        if let Some((recording, begun_at)) = self.0.as_mut().zip(begun_at) {
            recording.was_at(station, begun_at, result.as_ref().err().map(FailureKind::from));
        }
        result
    }

    /// These items are committed.
    pub(super) fn committed(&mut self, front: Front<'_>, reckoning: &Reckoning) {
        if let Some(recording) = &mut self.0 {
            recording.committed(front, reckoning);
        }
    }

    /// The first item will be a dead letter.
    pub(super) fn condemned(&mut self, first: Front<'_>, reason: Reason) {
        let Some(recording) = &mut self.0 else { return };
        let outcome = EventOutcome::DeadLetter(reason.as_str());
        let event = first.placed_events().next();
        let now = recording.clock.now();
        recording.condemned =
            event.and_then(|(partition, item, event)| recording.span_of(partition, item, event, outcome, now));
    }

    /// Partitions were taken away, and so many records let go.
    pub(super) fn revoked(&mut self, records: u64) {
        if let Some(recording) = &mut self.0 {
            recording.revoked += recording.let_go(records);
        }
    }

    /// Another writer had moved checkpoints, and so many records were let go.
    pub(super) fn fenced(&mut self, records: u64) {
        if let Some(recording) = &mut self.0 {
            recording.fenced += recording.let_go(records);
        }
    }

    /// One of them becomes a dead letter, and so many records are read again with what that needs.
    pub(super) fn read_again(&mut self, records: u64) {
        if let Some(recording) = &mut self.0 {
            recording.read_again += recording.let_go(records);
        }
    }
}

impl Recording {
    fn was_at(&mut self, station: Station, begun_at: SystemTime, failure: Option<FailureKind>) {
        // Each try begins there.
        self.tries += u64::from(station == Station::LookUp);
        self.failed_tries += u64::from(failure.is_some());
        if self.stations.len() >= MOST_STATIONS {
            return;
        }
        let station = StationSpan {
            batch: self.place.span_id,
            name: station.as_str(),
            asks_postgres: matches!(station, Station::LookUp | Station::Commit),
            failure,
        };
        let place = SpanPlace { trace_id: self.place.trace_id, span_id: SpanId::random() };
        let ended_at = self.clock.now();
        self.stations.push(Span { place, begun_at, ended_at, body: SpanBody::Station(station) });
    }

    fn committed(&mut self, front: Front<'_>, reckoning: &Reckoning) {
        self.committed += reckoning.totals.records();
        self.totals.add(&reckoning.totals);
        let ended_at = self.clock.now();
        // It was the first one, so it is among these.
        self.events.extend(self.condemned.take().map(|span| Span { ended_at, ..span }));
        let Some(fates) = &reckoning.fates else { return };
        let queue = Arc::clone(&self.tracing.queue);
        let sampled =
            |event: &Event| TraceId::of(event.correlation_id).is_some_and(|id| self.tracing.sampler.takes(id));
        let mut sampled = front.placed_events().zip(fates).filter(|((_, _, event), _)| sampled(event));
        // More than the queue has room for aren't made, however large the batch.
        let room = queue.room().saturating_sub(self.events.len());
        let spans = sampled.by_ref().take(room).filter_map(|((partition, item, event), fate)| {
            self.span_of(partition, item, event, outcome_of(*fate), ended_at)
        });
        let spans: Vec<Span> = spans.collect();
        queue.turn_away(sampled.count());
        self.events.extend(spans);
    }

    /// None for an event that gets none.
    fn span_of(
        &self,
        partition: &TopicPartition,
        item: &Item,
        event: &Event,
        outcome: EventOutcome,
        ended_at: SystemTime,
    ) -> Option<Span> {
        let trace_id = TraceId::of(event.correlation_id).filter(|id| self.tracing.sampler.takes(*id))?;
        let body = SpanBody::Event(EventSpan {
            batch: self.place,
            group_id: Arc::clone(&self.tracing.group_id),
            partition: partition.clone(),
            offset: item.offset,
            record_timestamp: item.timestamp,
            session_id: event.session_id.clone(),
            kind: event.kind(),
            event_id: event.position().id,
            causation_id: event.causation_id,
            outcome,
        });
        let place = SpanPlace { trace_id, span_id: SpanId::random() };
        Some(Span { place, begun_at: self.clock.begun_at, ended_at, body })
    }

    /// Some of it is let go, perhaps also what was condemned: whoever reads it again will tell.
    fn let_go(&mut self, records: u64) -> u64 {
        if records > 0 {
            self.condemned = None;
        }
        records
    }

    fn outcome(&self) -> BatchOutcome {
        let let_go = self.revoked + self.fenced + self.read_again;
        match self.records.saturating_sub(self.committed + let_go) {
            0 if self.fenced > 0 => BatchOutcome::Fenced,
            0 if self.revoked > 0 => BatchOutcome::Revoked,
            0 if self.read_again > 0 => BatchOutcome::ReadAgain,
            0 if self.failed_tries > 0 => BatchOutcome::Retried,
            0 => BatchOutcome::Committed,
            _ => BatchOutcome::Failed,
        }
    }

    fn batch(&self) -> Span {
        let totals = &self.totals;
        let body = SpanBody::Batch(BatchSpan {
            group_id: Arc::clone(&self.tracing.group_id),
            lane: self.lane,
            records: self.records,
            partitions: self.partitions,
            outcome: self.outcome(),
            tries: self.tries,
            applied: totals.applied,
            duplicates: totals.duplicates,
            ignored: totals.ignored,
            rejected: totals.rejected(),
            dead_letters: totals.dead_letters(),
            let_go: self.records.saturating_sub(self.committed),
        });
        Span { place: self.place, begun_at: self.clock.begun_at, ended_at: self.clock.now(), body }
    }
}

/// Also where the batch is given up, by an error or by the end of whoever waits for it.
impl Drop for Recording {
    fn drop(&mut self) {
        let mut spans = Vec::with_capacity(1 + self.stations.len() + self.events.len());
        spans.push(self.batch());
        spans.append(&mut self.stations);
        spans.append(&mut self.events);
        self.tracing.queue.push(spans);
    }
}

fn outcome_of(fate: Fate) -> EventOutcome {
    match fate {
        Fate::Applied => EventOutcome::Applied,
        Fate::Duplicate => EventOutcome::Duplicate,
        Fate::Ignored => EventOutcome::Ignored,
        Fate::Rejected(rejection) => EventOutcome::Rejected(rejection.0),
    }
}

impl From<&StoreError> for FailureKind {
    fn from(error: &StoreError) -> Self {
        let name = match error.failure {
            Failure::Contention => "contention",
            Failure::Unavailable => "unavailable",
            Failure::InDoubt => "in_doubt",
            Failure::Data => "data",
            Failure::Setup => "setup",
        };
        Self { name, sqlstate: error.sqlstate.clone() }
    }
}

impl From<&CommitError> for FailureKind {
    fn from(error: &CommitError) -> Self {
        match error {
            CommitError::Conflict => Self { name: "conflict", sqlstate: None },
            CommitError::Fenced(_) => Self { name: "fenced", sqlstate: None },
            CommitError::Store(error) => Self::from(error),
        }
    }
}
