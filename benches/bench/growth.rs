//! Whether an event costs more when many are stored: small portions drained at 100,000 stored records, and at 3,000,000.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    backlog::Topics,
    drain::{self, Processes},
    measured::Spread,
    rig::{Place, Rig},
};

/// What is measured, and what it is measured behind.
const PORTION: u64 = 100_000;
const FEW: u64 = 100_000;
const MANY: u64 = 3_000_000;
/// How much is sent at once on the way.
const STEP: u64 = 500_000;
/// How often each is measured; each portion also adds to what is stored.
const TIMES: usize = 7;

struct Growth<'r> {
    rig: &'r Rig,
    topics: Topics,
    place: Place,
    stored: u64,
    /// Another one for each portion: sessions that were not there before.
    seed: u64,
}

pub async fn run(rig: &Rig) -> Result<Value> {
    let topics = Topics::new("growth");
    let place = rig.fresh_place(&topics).await?;
    topics.create(&rig.config(&place)?.kafka).await?;
    let mut growth = Growth { rig, topics, place, stored: 0, seed: 1 };
    let few = growth.measure_at(FEW).await?;
    let many = growth.measure_at(MANY).await?;
    // The cost is the time of a record, so the ratio of costs is that of the rates upside down.
    let ratio = few.median / many.median;
    println!("\nthe cost of a record, with many stored, is {ratio:.3} times that with few");
    Ok(json!({
        "records_per_second_at_few": rates(FEW, few),
        "records_per_second_at_many": rates(MANY, many),
        "cost_ratio": ratio,
    }))
}

fn rates(stored: u64, rate: Spread) -> Value {
    json!({"stored": stored, "median": rate.median, "min": rate.least, "max": rate.most})
}

impl Growth<'_> {
    async fn measure_at(&mut self, stored: u64) -> Result<Spread> {
        while self.stored < stored {
            self.drain(STEP.min(stored - self.stored)).await?;
        }
        // Autovacuum owes it for all that was drained on the way, and would pay in the few portions that are measured.
        self.rig.vacuum().await?;
        let mut measured = Vec::new();
        for _ in 0..TIMES {
            let before = self.stored;
            let rate = self.drain(PORTION).await?;
            println!("  with {before:>9} stored   {rate:>9.0} records/s   {:>6.1} µs a record", 1e6 / rate);
            measured.push(rate);
        }
        Ok(Spread::of(measured).unwrap_or(Spread { median: f64::NAN, least: f64::NAN, most: f64::NAN }))
    }

    /// Sends and drains that many new records; returns how many a second.
    async fn drain(&mut self, records: u64) -> Result<f64> {
        let config = self.rig.config(&self.place)?;
        self.topics.send(&config.kafka, records, self.seed).await?;
        self.seed += 1;
        self.rig.checkpoint().await?;
        let drained = drain::drain(self.rig, &self.place, Processes::Alone, records).await?;
        self.stored += records;
        Ok(drained.measured.rate())
    }
}
