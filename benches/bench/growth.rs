//! Whether an event costs more when many are stored: a portion drained behind 100,000 records and one behind 3,000,000, in
//! turns, and what Postgres writes for each.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    backlog::Topics,
    drain::{self, Processes},
    measured::Spread,
    options::Options,
    results,
    rig::{Place, Rig},
    write_ahead::WriteAhead,
};

/// What a portion is measured behind.
const FEW: u64 = 100_000;
const MANY: u64 = 3_000_000;
/// How much is sent at once on the way.
const STEP: u64 = 500_000;

/// A portion behind few records and one behind many.
struct Round {
    few: Portion,
    many: Portion,
}

struct Portion {
    /// Records a second.
    rate: f64,
    written: WriteAhead,
}

pub async fn run(rig: &Rig, options: &Options) -> Result<Value> {
    rig.settle().await?;
    println!("draining {MANY} records, not measured …");
    let mut many = Stored::new(rig, options, "many").await?;
    many.fill(MANY).await?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        // Another one each time, since each portion adds as many records as are there.
        let mut few = Stored::new(rig, options, &format!("few-{number}")).await?;
        few.fill(FEW).await?;
        // Every second round the other way round, so that what a drain leaves behind is met by both.
        let round = if number % 2 == 1 {
            let few = few.portion(number).await?;
            Round { few, many: many.portion(number).await? }
        } else {
            let many = many.portion(number).await?;
            Round { few: few.portion(number).await?, many }
        };
        few.remove().await?;
        rounds.push(round);
    }
    Ok(print(&rounds))
}

/// Records in tables of their own.
struct Stored<'r> {
    rig: &'r Rig,
    name: String,
    place: Place,
    /// How many records a portion has.
    portion: u64,
    /// How many are stored.
    records: u64,
    drains: u64,
}

impl<'r> Stored<'r> {
    async fn new(rig: &'r Rig, options: &Options, name: &str) -> Result<Self> {
        let place = rig.new_place(&topics(name, 0)).await?;
        Ok(Self { rig, name: name.to_owned(), place, portion: options.records(), records: 0, drains: 0 })
    }

    async fn fill(&mut self, records: u64) -> Result<()> {
        while self.records < records {
            self.drain(STEP.min(records - self.records)).await?;
        }
        Ok(())
    }

    async fn portion(&mut self, round: u32) -> Result<Portion> {
        // Autovacuum owes it for what was drained before, and would pay in the middle of what is measured.
        self.rig.vacuum().await?;
        let stored = self.records;
        let portion = self.drain(self.portion).await?;
        let Portion { rate, written } = &portion;
        println!(
            "  round {round}  {stored:>9} stored   {rate:>9.0} records/s   {:>5.1} µs a record   {written}",
            1e6 / rate
        );
        Ok(portion)
    }

    /// Sends and drains that many records of sessions that were not there before, in topics that are new too: the
    /// development broker needs longer for each fetch when a topic is long, which is not what this is about.
    async fn drain(&mut self, records: u64) -> Result<Portion> {
        self.drains += 1;
        let topics = topics(&self.name, self.drains);
        self.place.read(&topics);
        let config = self.rig.config(&self.place)?;
        topics.create(&config.kafka).await?;
        topics.send(&config.kafka, records, self.drains).await?;
        self.rig.checkpoint().await?;
        let mut connection = self.rig.connect().await?;
        let before = WriteAhead::now(&mut connection).await?;
        let drained = drain::drain(self.rig, &self.place, Processes::Alone, records).await?;
        let written = WriteAhead::now(&mut connection).await?.since(before);
        self.records += records;
        Ok(Portion { rate: drained.measured.rate(), written })
    }

    async fn remove(self) -> Result<()> {
        self.rig.remove(self.place).await
    }
}

fn topics(name: &str, drain: u64) -> Topics {
    Topics::new(&format!("growth.{name}-{drain}"))
}

/// Says what the rounds came to; returns the same as JSON.
fn print(rounds: &[Round]) -> Value {
    // The cost is the time of a record, so the ratio of costs is that of the rates upside down.
    let ratio = spread(rounds.iter().map(|round| round.few.rate / round.many.rate));
    let (few, many) = (of(rounds, |round| &round.few), of(rounds, |round| &round.many));
    println!(
        "\nthe cost of a record, with many stored, is {:.3} times that with few ({:.3} to {:.3})",
        ratio.median, ratio.least, ratio.most
    );
    json!({
        "stored": {"few": FEW, "many": MANY}, "few": few, "many": many,
        "cost_ratio": results::spread(ratio),
    })
}

fn of(rounds: &[Round], which: impl Fn(&Round) -> &Portion) -> Value {
    let of = |what: fn(&Portion) -> f64| results::spread(spread(rounds.iter().map(|round| what(which(round)))));
    json!({
        "records_per_second": of(|portion| portion.rate),
        "write_ahead_bytes": of(|portion| portion.written.bytes),
        "full_page_images": of(|portion| portion.written.full_page_images),
    })
}

fn spread(numbers: impl Iterator<Item = f64>) -> Spread {
    Spread::of(numbers).unwrap_or(Spread { median: f64::NAN, least: f64::NAN, most: f64::NAN })
}
