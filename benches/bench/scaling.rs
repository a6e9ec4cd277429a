//! What several instances on one machine come to: one, two and four of them drain the same backlog, in turns.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    backlog::Topics,
    drain::{self, Processes},
    measured::{Measured, Spread},
    options::Options,
    results,
    rig::Rig,
    tables::FirstCounts,
};

/// How many drain together. The first is what the others are compared with.
const INSTANCES: [u32; 3] = [1, 2, 4];

/// A drain by each number of instances.
type Round = BTreeMap<u32, Measured>;

pub async fn run(rig: &Rig, options: &Options) -> Result<Value> {
    let topics = Topics::new("scaling");
    let config = rig.common_config(&topics)?;
    println!("sending {} records …", options.records());
    topics.create(&config.kafka).await?;
    topics.send(&config.kafka, options.records(), 1).await?;
    let mut scaling = Scaling { rig, topics, records: options.records(), first_counts: FirstCounts::default() };
    println!("draining once, not measured …");
    scaling.drain(1).await?;

    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        // Every second round the other way round, so that what a drain leaves behind is met by each of them.
        let mut order = INSTANCES;
        if number % 2 == 0 {
            order.reverse();
        }
        let mut round = Round::new();
        for instances in order {
            let measured = scaling.drain(instances).await?;
            println!("  round {number}  {:<16} {:>9.0} records/s", name(instances), measured.rate());
            round.insert(instances, measured);
        }
        rounds.push(round);
    }
    let compared: Vec<Compared> =
        INSTANCES.into_iter().filter_map(|instances| Compared::of(instances, &rounds)).collect();
    print(&compared);
    Ok(compared.iter().map(Compared::to_json).collect())
}

struct Scaling<'r> {
    rig: &'r Rig,
    topics: Topics,
    records: u64,
    first_counts: FirstCounts,
}

impl Scaling<'_> {
    /// Into fresh tables, timed from outside whatever the number, so that all are timed alike.
    async fn drain(&mut self, instances: u32) -> Result<Measured> {
        let place = self.rig.fresh_place(&self.topics).await?;
        let drained = drain::drain(self.rig, &place, Processes::Watched(instances), self.records).await?;
        self.first_counts.check(&mut self.rig.connect_to(&place).await?).await?;
        Ok(drained.measured)
    }
}

fn name(instances: u32) -> String {
    format!("{instances} instance{}", if instances == 1 { "" } else { "s" })
}

/// What a number of instances came to in all rounds.
struct Compared {
    instances: u32,
    rate: Spread,
    /// Of the rate to that of one instance in the same round.
    ratio: Spread,
    /// The most memory that one of the processes had.
    peak_bytes: Option<u64>,
}

impl Compared {
    fn of(instances: u32, rounds: &[Round]) -> Option<Self> {
        let [one, ..] = INSTANCES;
        Some(Self {
            instances,
            rate: Spread::of(rounds.iter().map(|round| round[&instances].rate()))?,
            ratio: Spread::of(rounds.iter().map(|round| round[&instances].rate() / round[&one].rate()))?,
            peak_bytes: rounds.iter().filter_map(|round| round[&instances].peak_bytes).max(),
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "instances": self.instances, "records_per_second": results::spread(self.rate),
            "ratio_to_one": results::spread(self.ratio), "peak_bytes": self.peak_bytes,
        })
    }
}

fn print(all: &[Compared]) {
    println!("\n{:<32} {:>9} {:>9} {:>9}   peak memory of each", "records/s", "median", "min", "max");
    for Compared { instances, rate, peak_bytes, .. } in all {
        let peak = peak_bytes.map(|bytes| format!("{:>7.0} MB", bytes as f64 / 1e6)).unwrap_or_default();
        println!("{:<32} {:>9.0} {:>9.0} {:>9.0}  {peak}", name(*instances), rate.median, rate.least, rate.most);
    }
    println!();
    for Compared { instances, ratio, .. } in all.iter().skip(1) {
        let name = format!("{} to one", name(*instances));
        println!("{name:<32} {:>9.3} {:>9.3} {:>9.3}", ratio.median, ratio.least, ratio.most);
    }
}
