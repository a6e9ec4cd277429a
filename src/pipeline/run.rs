//! Drives batches from a consumer into the store.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::try_join_all};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    backoff::Backoff,
    event::{Decoder, Event, Refusal, prefetched},
    fold::{Aggregators, BatchFold, SessionAggregator},
    record::{NextOffset, TopicPartition},
    store::{
        self, BatchCommit, Checkpoint, CheckpointMove, CommitError, Committed, Failure, Fenced, Publication, Storage,
        TakenFrom,
    },
    stream::{Batch, Lease, Notice, ReadProgress},
};

use super::{
    PipelineError,
    cache::SessionCache,
    counts::{Counts, Station, Totals},
    narrowing::{Attempted, Narrowing, commit_all},
    outage::{until_available, wait_out},
    source::Source,
    trace::{BatchTrace, Tracing},
    work::{Condemned, Front, Reckoning, RejectedItem, Work},
};

/// One consumer's way into the store.
pub struct Pipeline<S, A: SessionAggregator> {
    store: S,
    aggregators: Aggregators<A>,
    options: PipelineOptions,
    counts: Arc<Counts>,
    cache: SessionCache<A::State>,
    tracing: Option<Tracing>,
}

// Derived, it would ask for `A::State: Debug`.
impl<S: fmt::Debug, A: SessionAggregator> fmt::Debug for Pipeline<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, options, .. } = self;
        f.debug_struct("Pipeline").field("store", store).field("options", options).finish_non_exhaustive()
    }
}

/// How a pipeline works.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// By which checkpoints are kept.
    pub group_id: String,
    /// Whether events that the aggregator rejects are kept as dead letters.
    pub keep_rejected: bool,
    pub publication: Publication,
}

/// What a pipeline goes on with when its tables have become another generation's.
#[derive(Debug)]
pub struct Renewed<S, A> {
    pub store: S,
    pub aggregators: Aggregators<A>,
    pub decoder: Decoder,
    /// As in [`PipelineOptions`].
    pub keep_rejected: bool,
}

/// After this many conflicts in a row a smaller part of the batch is tried: it meets fewer other writers.
pub(super) const CONFLICTS_BEFORE_HALVING: u32 = 8;

/// Why an attempt came to nothing.
enum AttemptError {
    Commit(CommitError),
    /// Events of these partitions become dead letters, whose records weren't kept.
    NotKept(Vec<TopicPartition>),
}

impl<E: Into<CommitError>> From<E> for AttemptError {
    fn from(error: E) -> Self {
        Self::Commit(error.into())
    }
}

/// A commit whose answer was lost.
struct InDoubt {
    /// How many items it was of; the attempt that finds out may be of fewer.
    count: usize,
    moves: Vec<CheckpointMove>,
    reckoning: Reckoning,
}

impl<A: SessionAggregator, S: Storage<A>> Pipeline<S, A> {
    pub fn new(store: S, aggregators: Aggregators<A>, options: PipelineOptions) -> Self {
        Self { store, aggregators, options, counts: Arc::default(), cache: SessionCache::default(), tracing: None }
    }

    /// Adds to these running totals.
    #[must_use]
    pub fn counting_on(self, counts: Arc<Counts>) -> Self {
        Self { counts, ..self }
    }

    /// Tells of its batches and events there.
    #[must_use]
    pub fn traced(self, tracing: Option<Tracing>) -> Self {
        Self { tracing, ..self }
    }

    /// The running totals.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Runs until the consumer has stopped reading and everything that it read is committed, then leaves the group
    /// and checks the conservation law.
    ///
    /// Dropping the future at any instant is safe: what was not committed is read again.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub async fn run<C: Source>(&mut self, consumer: C) -> Result<Totals, PipelineError> {
        self.run_renewed(consumer, async |_: &S| None).await
    }

    /// The same, but asks after an error whether there is something else to go on with. The consumer stays in its group
    /// meanwhile.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub async fn run_renewed<C: Source>(
        &mut self,
        consumer: C,
        mut renew: impl AsyncFnMut(&S) -> Option<Renewed<S, A>>,
    ) -> Result<Totals, PipelineError> {
        let result = loop {
            let result = self.process_all(&consumer).await;
            let renewed = if result.is_err() { renew(&self.store).await } else { None };
            let Some(Renewed { store, aggregators, decoder, keep_rejected }) = renewed else { break result };
            self.cache.clear();
            (self.store, self.aggregators) = (store, aggregators);
            self.options.keep_rejected = keep_rejected;
            consumer.renew(decoder, keep_rejected);
        };
        let progress = Arc::clone(consumer.progress());
        let closed = consumer.close().await;
        result?;
        closed?;
        self.check_conservation(&progress)
    }

    fn check_conservation(&self, progress: &ReadProgress) -> Result<Totals, PipelineError> {
        let totals = self.counts.totals();
        let (read, discarded, accounted) = (progress.read(), progress.discarded(), totals.records());
        if read != discarded + accounted {
            return Err(PipelineError::NotConserved { read, discarded, accounted });
        }
        Ok(totals)
    }

    /// Works on all lanes, and heeds the notices meanwhile.
    async fn process_all<C: Source>(&self, consumer: &C) -> Result<(), PipelineError> {
        let lanes = try_join_all((0..consumer.lanes()).map(|lane| self.process_lane(consumer, lane)));
        tokio::select! {
            biased;
            result = self.heed_notices(consumer) => result?,
            result = lanes => { result?; }
        }
        // What the polling thread said last must not be missed, least of all why it stopped.
        while let Some(Some(notice)) = consumer.notice().now_or_never() {
            if matches!(notice, Notice::Halted(_) | Notice::Failed(_)) {
                self.on_notice(consumer, notice).await?;
            }
        }
        Ok(())
    }

    async fn process_lane(&self, consumer: &impl Source, lane: usize) -> Result<(), PipelineError> {
        while let Some(batch) = consumer.batch(lane).await {
            let correlation_id = Uuid::now_v7();
            let trace = BatchTrace::begin(self.tracing.as_ref(), correlation_id, lane, &batch);
            let span = tracing::info_span!("batch", lane, %correlation_id);
            self.process(consumer, batch, trace).instrument(span).await?;
        }
        Ok(())
    }

    /// Ends only with an error, or the polling thread.
    async fn heed_notices(&self, consumer: &impl Source) -> Result<(), PipelineError> {
        while let Some(notice) = consumer.notice().await {
            self.on_notice(consumer, notice).await?;
        }
        Ok(())
    }

    async fn on_notice(&self, consumer: &impl Source, notice: Notice) -> Result<(), PipelineError> {
        match notice {
            Notice::Granted(leases) => self.start_from_checkpoints(consumer, leases).await?,
            Notice::Located(starts) => self.start_from_kafka(consumer, starts).await?,
            Notice::NotLocated(leases, error) => {
                tracing::warn!(%error, "trying again");
                tokio::time::sleep(Duration::from_millis(500)).await;
                consumer.locate(leases);
            }
            Notice::Halted(error) => {
                tracing::error!(%error, "a partition halted; the others go on");
                self.counts.add(&Totals { halted: 1, ..Totals::default() });
            }
            Notice::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Postgres is the authority on offsets; Kafka is asked only where there is no checkpoint.
    async fn start_from_checkpoints(&self, consumer: &impl Source, leases: Vec<Lease>) -> Result<(), PipelineError> {
        // Somebody else wrote these partitions' sessions meanwhile.
        self.cache.clear();
        let partitions: Vec<TopicPartition> = leases.iter().map(|lease| lease.partition().clone()).collect();
        let read = async || store::read_checkpoints(&self.store, &self.options.group_id, &partitions).await;
        let Some(checkpoints) = until_available(consumer, &leases, read).await? else { return Ok(()) };
        start_at(consumer, leases, checkpoints);
        Ok(())
    }

    async fn start_from_kafka(
        &self,
        consumer: &impl Source,
        starts: Vec<(Lease, NextOffset)>,
    ) -> Result<(), PipelineError> {
        let (leases, offsets): (Vec<_>, Vec<_>) = starts.into_iter().unzip();
        let partitions = leases.iter().map(|lease| lease.partition().clone());
        let starts: Vec<(TopicPartition, NextOffset)> = partitions.zip(offsets).collect();
        let create = async || store::create_checkpoints(&self.store, &self.options.group_id, &starts).await;
        let Some(checkpoints) = until_available(consumer, &leases, create).await? else { return Ok(()) };
        start_at(consumer, leases, checkpoints);
        Ok(())
    }

    /// Commits a batch, whatever it takes, or lets go of what somebody else now owns.
    async fn process(&self, consumer: &impl Source, batch: Batch, trace: BatchTrace) -> Result<(), PipelineError> {
        let work = Work::new(batch, Arc::clone(consumer.progress()));
        commit_all(&mut InWork { pipeline: self, consumer, work, trace }).await
    }

    /// Commits the first `count` items of the work, through conflicts, fences and outages. Fewer, where that many take
    /// Postgres too long or never find their sessions unchanged.
    async fn commit_front(
        &self,
        consumer: &impl Source,
        work: &mut Work,
        trace: &mut BatchTrace,
        count: usize,
    ) -> Result<Attempted, PipelineError> {
        let mut conflicts = Backoff::new(Duration::from_millis(2), Duration::from_millis(500));
        let mut outages = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut in_doubt: Option<InDoubt> = None;
        let mut most = count;
        loop {
            let discarded = work.retain(|slice| consumer.leases().is_current(&slice.lease));
            consumer.progress().add_discarded(discarded);
            trace.revoked(discarded);
            let count = most.min(work.len());
            if count == 0 {
                return Ok(Attempted::Done);
            }
            let front = work.front(count);
            let Some(held) = consumer.leases().hold(front.leases()) else { continue };
            let moves = front.moves();
            let mut reckoning = Reckoning::of(front);
            let result = self.attempt(front, &moves, &mut reckoning, trace).await;
            drop(held);
            match result {
                Ok(committed) => {
                    self.finish(consumer, work, trace, count, committed, &reckoning);
                    return Ok(Attempted::Done);
                }
                Err(AttemptError::NotKept(partitions)) => self.read_again(consumer, work, trace, partitions),
                Err(AttemptError::Commit(CommitError::Conflict)) => {
                    self.counts.add(&Totals { conflicts: 1, ..Totals::default() });
                    tokio::time::sleep(conflicts.next_delay()).await;
                    if conflicts.attempts().is_multiple_of(CONFLICTS_BEFORE_HALVING) {
                        most = (count / 2).max(1);
                    }
                }
                Err(AttemptError::Commit(CommitError::Fenced(fenced))) => {
                    let resolved = in_doubt.take().and_then(|doubt| Some((fenced.resolves(&doubt.moves)?, doubt)));
                    if let Some((committed, doubt)) = resolved {
                        tracing::info!("the commit whose answer was lost had happened");
                        self.finish(consumer, work, trace, doubt.count, committed, &doubt.reckoning);
                        return Ok(Attempted::Done);
                    }
                    self.let_go_of(consumer, work, trace, fenced);
                }
                Err(AttemptError::Commit(CommitError::Store(error))) => match error.failure {
                    Failure::Data if work.lacks_records() => {
                        tracing::warn!(%error, records = work.len(), "Postgres refuses an event");
                        let partitions = work.partitions();
                        self.read_again(consumer, work, trace, partitions);
                    }
                    Failure::Data => return Ok(Attempted::Refused(error)),
                    Failure::Setup => return Err(error.into()),
                    Failure::Contention | Failure::Unavailable | Failure::InDoubt => {
                        if error.failure == Failure::InDoubt {
                            in_doubt = Some(InDoubt { count, moves, reckoning });
                        } else if error.less_may_succeed() {
                            most = (count / 2).max(1);
                        }
                        wait_out(&error, &mut outages).await;
                    }
                },
            }
        }
    }

    /// Reads what stands, folds, commits.
    async fn attempt(
        &self,
        front: Front<'_>,
        moves: &[CheckpointMove],
        reckoning: &mut Reckoning,
        trace: &mut BatchTrace,
    ) -> Result<Committed, AttemptError> {
        let events: Vec<&Event> = front.events().collect();
        let (taken, wanted) = self.cache.take(&events);
        let looked_up = self.store.standing(&self.aggregators, &wanted);
        let mut standing = trace.timed(&self.counts, Station::LookUp, looked_up).await?;
        let keys = taken.complete(&mut standing);
        reckoning.fates = trace.wants_fates().then(|| Vec::with_capacity(events.len()));
        let fates = &mut reckoning.fates;
        let folded = trace.timed(&self.counts, Station::Fold, async {
            let mut fold = BatchFold::new(&self.aggregators, standing);
            let events = prefetched(&events, |event| event).copied();
            match fates {
                None => events.for_each(|event| fold.push(event)),
                Some(fates) => fates.extend(events.map(|event| fold.push_telling(event))),
            }
            self.store.finish_fold(fold).await
        });
        let folded = folded.await?;
        reckoning.totals.take(&folded.outcome);
        let rejected = if self.options.keep_rejected { folded.outcome.rejected.as_slice() } else { &[] };
        let rejected = front.rejected(rejected).map_err(AttemptError::NotKept)?;
        let mut dead_letters = front.dead_letters();
        dead_letters.extend(rejected.iter().map(RejectedItem::dead_letter));
        let batch = BatchCommit {
            taken_from: TakenFrom::Log { group_id: &self.options.group_id, moves, dead_letters: &dead_letters },
            aggregators: &self.aggregators,
            changes: &folded.changes,
            publication: self.options.publication,
        };
        let committed = trace.timed(&self.counts, Station::Commit, store::commit(&self.store, &batch)).await?;
        self.cache.put(&self.aggregators, folded.changes, keys);
        Ok(committed)
    }

    fn finish(
        &self,
        consumer: &impl Source,
        work: &mut Work,
        trace: &mut BatchTrace,
        count: usize,
        committed: Committed,
        reckoning: &Reckoning,
    ) {
        let totals = &reckoning.totals;
        tracing::debug!(
            records = count,
            applied = totals.applied,
            duplicates = totals.duplicates,
            dead_letters = totals.dead_letters(),
            "batch committed"
        );
        if totals.dead_letters() > 0 {
            tracing::debug!(reasons = totals.dead_letter_reasons(), "dead letters");
        }
        self.counts.add(totals);
        trace.committed(work.front(count), reckoning);
        work.advance(count);
        consumer.commit(committed);
    }

    /// An event of these partitions becomes a dead letter, so that its record is asked for after all: they are read
    /// again, with the records of as many events as were in hand.
    fn read_again(
        &self,
        consumer: &impl Source,
        work: &mut Work,
        trace: &mut BatchTrace,
        partitions: Vec<TopicPartition>,
    ) {
        tracing::info!(partitions = partitions.len(), "reading again what becomes a dead letter");
        consumer.keep_records(work.ends(&partitions));
        let discarded = work.retain(|slice| !partitions.contains(slice.lease.partition()));
        consumer.progress().add_discarded(discarded);
        trace.read_again(discarded);
        consumer.restart(partitions);
    }

    /// Somebody else moved these checkpoints: their records are read again from where they stand now, by whoever has
    /// the partition.
    fn let_go_of(&self, consumer: &impl Source, work: &mut Work, trace: &mut BatchTrace, fenced: Fenced) {
        let partitions: Vec<_> = fenced.partitions.into_iter().map(|(partition, _)| partition).collect();
        tracing::warn!(partitions = partitions.len(), "fenced: the checkpoint was moved by another writer");
        self.counts.add(&Totals { fences: partitions.len() as u64, ..Totals::default() });
        let discarded = work.retain(|slice| !partitions.contains(slice.lease.partition()));
        consumer.progress().add_discarded(discarded);
        trace.fenced(discarded);
        consumer.restart(partitions);
    }
}

/// A batch that is being committed.
struct InWork<'p, C, S, A: SessionAggregator> {
    pipeline: &'p Pipeline<S, A>,
    consumer: &'p C,
    work: Work,
    trace: BatchTrace,
}

impl<C: Source, S: Storage<A>, A: SessionAggregator> Narrowing for InWork<'_, C, S, A> {
    fn len(&self) -> usize {
        self.work.len()
    }

    async fn commit_front(&mut self, count: usize) -> Result<Attempted, PipelineError> {
        self.pipeline.commit_front(self.consumer, &mut self.work, &mut self.trace, count).await
    }

    fn condemn_first(&mut self, refused: Refusal) -> bool {
        let Self { pipeline, consumer, work, trace } = self;
        trace.condemned(work.front(1), refused.reason);
        match work.condemn_first(refused) {
            Condemned::Done => true,
            Condemned::NoEvent => false,
            Condemned::NotKept(partition) => {
                pipeline.read_again(*consumer, work, trace, vec![partition]);
                true
            }
        }
    }
}

/// Starts reading at these checkpoints; of partitions that have none, be it that one was deleted just now, Kafka is asked
/// where they start.
fn start_at(consumer: &impl Source, leases: Vec<Lease>, checkpoints: Vec<Checkpoint>) {
    let mut checkpoints: HashMap<TopicPartition, Checkpoint> =
        checkpoints.into_iter().map(|checkpoint| (checkpoint.partition().clone(), checkpoint)).collect();
    let (mut starts, mut without) = (Vec::new(), Vec::new());
    for lease in leases {
        match checkpoints.remove(lease.partition()) {
            Some(checkpoint) => starts.push((lease, checkpoint)),
            None => without.push(lease),
        }
    }
    consumer.start_reading(starts);
    if !without.is_empty() {
        consumer.locate(without);
    }
}
