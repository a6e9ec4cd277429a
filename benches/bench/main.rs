//! `make bench`: how fast sessionfold is, beside what it can be compared with, on one machine in one run.
//!
//! docs/performance.md says what is measured and how it is to be read. Everything runs on a private broker and a private
//! Postgres, which are started and ended here.

mod backlog;
mod copy;
mod drain;
mod fold_alone;
mod growth;
mod kafka_alone;
mod latency;
mod machine;
mod measured;
mod memory;
mod naive;
mod options;
mod plot;
mod process;
mod python;
mod results;
mod rig;
mod rounds;
mod scaling;
mod summary;
mod table;
mod tables;
mod write_ahead;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use options::{Options, Subject};
use rig::Rig;

/// More waiting processes than this, before anything is measured, are said to distort the figures.
const QUIET_LOAD: f64 = 0.5;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        result = run(&options) => result.map(|()| ExitCode::SUCCESS),
        // Dropping the run drops its servers and programs, which ends them.
        _ = terminate.recv() => Ok(ExitCode::from(143)),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
    }
}

async fn run(options: &Options) -> Result<()> {
    if options.wants(Subject::Python) && !options.is_apart() {
        python::check()?;
    }
    if let Some(load) = machine::load().filter(|load| *load > QUIET_LOAD) {
        println!("the machine is not idle (load {load}): what else runs distorts the figures");
    }
    let rig = Rig::start(options).await?;
    let result = measure(&rig, options).await;
    rig.stop().await;
    result
}

async fn measure(rig: &Rig, options: &Options) -> Result<()> {
    let machine = machine::facts(rig).await?;
    if options.growth {
        let growth = growth::run(rig, options).await?;
        return results::write_apart("growth", growth, options, machine);
    }
    if options.memory {
        let memory = memory::run(rig, options).await?;
        return results::write_apart("memory", memory, options, machine);
    }
    if options.scaling {
        let scaling = scaling::run(rig, options).await?;
        return results::write_apart("scaling", scaling, options, machine);
    }
    let in_rounds = Subject::IN_ROUNDS.iter().any(|subject| options.wants(*subject));
    let rounds = if in_rounds { Some(rounds::run(rig, options).await?) } else { None };
    let latency = if options.wants(Subject::Latency) { Some(latency::measure(rig, options).await?) } else { None };
    if let Some(rounds) = &rounds {
        table::print_rounds(rounds);
        results::write_plot(&rounds.drains)?;
    }
    if let Some(latency) = &latency {
        table::print_latency(latency);
    }
    results::write_json(&results::to_json(options, machine, rounds.as_ref(), latency.as_ref()))
}
