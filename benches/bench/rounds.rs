//! The rounds: each measurement in turn, again and again, so that what changes on the machine meanwhile meets all alike.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use sessionfold::config::Config;

use crate::{
    backlog::{self, Kept, Topics},
    copy::{self, Exported},
    drain::{self, Drained, Processes},
    fold_alone, kafka_alone,
    measured::Measured,
    naive,
    options::{Options, Subject},
    python,
    rig::{Place, Rig},
    tables::FirstCounts,
};

/// What one round measured.
pub type Round = BTreeMap<Subject, Measured>;

pub struct Rounds {
    pub rounds: Vec<Round>,
    /// The drains of `d`, one a round.
    pub drains: Vec<Drained>,
}

/// What stays the same from round to round.
struct Bench<'r> {
    rig: &'r Rig,
    options: &'r Options,
    topics: Topics,
    config: Config,
    /// The backlog in memory, where something asks for it.
    kept: Vec<Kept>,
    exported: Vec<Exported>,
    first_counts: FirstCounts,
    /// How many events the first run of the script left.
    python_events: Option<u64>,
}

pub async fn run(rig: &Rig, options: &Options) -> Result<Rounds> {
    let mut bench = Bench::prepare(rig, options).await?;
    let (mut rounds, mut drains) = (Vec::new(), Vec::new());
    for number in 1..=options.rounds {
        let mut round = Round::new();
        for subject in Subject::IN_ROUNDS.into_iter().filter(|subject| options.wants(*subject)) {
            let measured = bench.measure(subject, &mut drains).await?;
            println!("  round {number}  {:<28} {:>9.0} records/s", subject.to_string(), measured.rate());
            round.insert(subject, measured);
        }
        rounds.push(round);
    }
    Ok(Rounds { rounds, drains })
}

impl<'r> Bench<'r> {
    async fn prepare(rig: &'r Rig, options: &'r Options) -> Result<Self> {
        let topics = Topics::new("bench");
        let config = rig.common_config(&topics)?;
        println!("sending {} records …", options.records());
        topics.create(&config.kafka).await?;
        topics.send(&config.kafka, options.records(), 1).await?;
        let mut bench = Self {
            rig,
            options,
            topics,
            config,
            kept: Vec::new(),
            exported: Vec::new(),
            first_counts: FirstCounts::default(),
            python_events: None,
        };
        if options.wants(Subject::Fold) || options.wants(Subject::Naive) {
            let (brokers, topics) = (rig.brokers(), &bench.topics);
            bench.kept = tokio::task::block_in_place(|| backlog::keep(&brokers, topics, options.records()))?;
        }
        if options.wants(Subject::Copy) || options.wants(Subject::Drain) {
            println!("draining once, not measured: for the rows to copy, and so that the first round isn't cold …");
            bench.drain_and_export().await?;
        }
        Ok(bench)
    }

    async fn drain_and_export(&mut self) -> Result<()> {
        let (place, _) = self.drain().await?;
        if self.options.wants(Subject::Copy) {
            self.exported = copy::export(self.rig, &place).await?;
        }
        Ok(())
    }

    async fn measure(&mut self, subject: Subject, drains: &mut Vec<Drained>) -> Result<Measured> {
        let (rig, topics, records) = (self.rig, &self.topics, self.options.records());
        match subject {
            Subject::Kafka => {
                rig.settle().await?;
                tokio::task::block_in_place(|| kafka_alone::measure(&rig.brokers(), topics, records))
            }
            Subject::Fold => {
                rig.settle().await?;
                tokio::task::block_in_place(|| fold_alone::measure(&self.config, &self.kept))
            }
            Subject::Copy => copy::measure(rig, topics, &self.exported, records).await,
            Subject::Drain => {
                let (_, drained) = self.drain().await?;
                let measured = drained.measured;
                drains.push(drained);
                Ok(measured)
            }
            Subject::Naive => {
                let first = backlog::first_of_all(&self.kept, self.options.naive_records);
                naive::measure(rig, topics, &first).await
            }
            Subject::Python => {
                let (measured, events) = python::measure(rig, topics, records).await?;
                let expected = *self.python_events.get_or_insert(events);
                ensure!(events == expected, "the script left {expected} events in one round, {events} in another");
                Ok(measured)
            }
            Subject::Latency => anyhow::bail!("the latency isn't measured in rounds"),
        }
    }

    /// A drain into fresh tables, which must come out as the first did.
    async fn drain(&mut self) -> Result<(Place, Drained)> {
        let place = self.rig.fresh_place(&self.topics).await?;
        let processes = Processes::of(self.options.instances);
        let drained = drain::drain(self.rig, &place, processes, self.options.records()).await?;
        self.first_counts.check(&mut self.rig.connect_to(&place).await?).await?;
        Ok((place, drained))
    }
}
