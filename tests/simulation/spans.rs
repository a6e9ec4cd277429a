//! What the members tell of their batches to a collector of traces, held against itself.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroUsize,
    sync::Arc,
};

use sessionfold::{
    config::Share,
    pipeline::Tracing,
    traces::{BatchOutcome, BatchSpan, EventOutcome, Sampler, Span, SpanBody, SpanPlace, SpanQueue},
};

/// Where all members leave their spans; cheap to clone.
#[derive(Clone, Debug)]
pub struct Spans(Arc<SpanQueue>);

impl Default for Spans {
    fn default() -> Self {
        Self(Arc::new(SpanQueue::new(NonZeroUsize::MAX)))
    }
}

impl Spans {
    pub fn tracing(&self) -> Tracing {
        let everything = Sampler::new(Share::new(1.0).unwrap());
        Tracing { queue: Arc::clone(&self.0), sampler: everything, group_id: "group".into() }
    }

    /// Each batch is told of once, with events that are as many as it counts, and with the outcome that follows from them.
    /// To be asked when all members are gone. Returns what was told how often.
    pub fn check(&self) -> Result<Vec<String>, String> {
        let Some(taken) = self.0.take(usize::MAX) else { return Err("no batch was told of".to_owned()) };
        let mut of_batch: HashMap<u128, Vec<&Span>> = HashMap::new();
        for span in taken.spans() {
            let batch = match &span.body {
                SpanBody::Event(event) => event.batch,
                SpanBody::Batch(_) | SpanBody::Station(_) => span.place,
            };
            of_batch.entry(batch.trace_id.get()).or_default().push(span);
        }
        of_batch.values().try_for_each(|spans| check_batch(spans))?;
        let mut told: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for span in taken.spans() {
            let what = match &span.body {
                SpanBody::Event(event) => ("an event", event.outcome.as_str()),
                SpanBody::Batch(batch) => ("a batch", batch.outcome.as_str()),
                SpanBody::Station(_) => continue,
            };
            *told.entry(what).or_default() += 1;
        }
        Ok(told
            .into_iter()
            .map(|((what, outcome), count)| format!("{what} is told of as {outcome}: {count}"))
            .collect())
    }
}

fn check_batch(spans: &[&Span]) -> Result<(), String> {
    let mut batches = spans.iter().filter_map(|span| match &span.body {
        SpanBody::Batch(batch) => Some((span.place, batch)),
        SpanBody::Station(_) | SpanBody::Event(_) => None,
    });
    let (Some((place, batch)), None) = (batches.next(), batches.next()) else {
        return Err(format!("not one batch: {spans:?}"));
    };
    let is = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {batch:?} of {spans:?}")) };
    let told = |wanted: fn(EventOutcome) -> bool| count(spans, place, wanted);
    is(told(|outcome| outcome == EventOutcome::Applied) == batch.applied, "applied")?;
    is(told(|outcome| outcome == EventOutcome::Duplicate) == batch.duplicates, "duplicates")?;
    is(told(|outcome| outcome == EventOutcome::Ignored) <= batch.ignored, "ignored")?;
    is(
        told(|outcome| matches!(outcome, EventOutcome::DeadLetter("unstorable"))) <= batch.dead_letters,
        "dead letters",
    )?;
    is(told(|_| true) == events(spans), "an event of another batch")?;
    is(records(batch) == batch.records, "conservation")?;
    let failed =
        spans.iter().filter(|span| matches!(&span.body, SpanBody::Station(one) if one.failure.is_some())).count();
    let is_whole = batch.let_go == 0;
    match batch.outcome {
        BatchOutcome::Committed => is(is_whole && failed == 0 && batch.tries == 1, "committed"),
        BatchOutcome::Retried => is(is_whole && failed > 0, "retried"),
        BatchOutcome::Fenced => is(!is_whole && failed > 0, "fenced"),
        BatchOutcome::Revoked | BatchOutcome::ReadAgain | BatchOutcome::Failed => is(!is_whole, "let go"),
    }
}

fn count(spans: &[&Span], place: SpanPlace, wanted: fn(EventOutcome) -> bool) -> u64 {
    let is_wanted =
        |span: &&&Span| matches!(&span.body, SpanBody::Event(event) if event.batch == place && wanted(event.outcome));
    spans.iter().filter(is_wanted).count() as u64
}

fn events(spans: &[&Span]) -> u64 {
    spans.iter().filter(|span| matches!(span.body, SpanBody::Event(_))).count() as u64
}

fn records(batch: &BatchSpan) -> u64 {
    batch.applied + batch.duplicates + batch.ignored + batch.rejected + batch.dead_letters + batch.let_go
}
