//! b: decode and fold alone, from memory, by one thread: what is left without Kafka and Postgres.

use std::time::Instant;

use anyhow::{Result, ensure};
use sessionfold::{
    config::Config,
    event::{Decoded, Event},
    fold::{Aggregators, BatchFold, Standing},
    service::{convergent, decoder},
};

use crate::{backlog::Kept, measured::Measured};

pub fn measure(config: &Config, kept: &[Kept]) -> Result<Measured> {
    let (decoder, aggregators) = (decoder(config), Aggregators::new(convergent(config)));
    let begun = Instant::now();
    let mut accounted = 0;
    for batch in kept.chunks(config.batch.max_events.get()) {
        let decoded: Vec<Decoded> = batch.iter().map(|kept| decoder.decode(kept.record.wire())).collect();
        let events: Vec<&Event> = decoded.iter().filter_map(event).collect();
        let mut fold = BatchFold::new(&aggregators, Standing::default());
        for event in &events {
            fold.push(event);
        }
        let folded = fold.finish(std::iter::empty());
        let others = decoded.len() - events.len();
        accounted += folded.outcome.applied + folded.outcome.duplicates + others as u64;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let records = kept.len() as u64;
    ensure!(accounted == records, "{records} records decoded, {accounted} accounted for");
    Ok(Measured { records, seconds, peak_bytes: None })
}

fn event(decoded: &Decoded) -> Option<&Event> {
    match decoded {
        Decoded::Event(event) => Some(event),
        Decoded::Ignored | Decoded::Refused(_) => None,
    }
}
