//! What was measured, as JSON for programs and as a plot: `target/bench`.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::{
    drain::Drained,
    latency::{Latency, Millis},
    measured::{Measured, Spread},
    options::{Options, Subject},
    plot,
    rounds::Rounds,
    table::{self, RATIOS},
};

const FOLDER: &str = "target/bench";

fn write(name: &str, text: &str) -> Result<()> {
    let path = Path::new(FOLDER).join(name);
    fs::create_dir_all(FOLDER)?;
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    println!("written: {}", path.display());
    Ok(())
}

pub fn write_json(value: &Value) -> Result<()> {
    write("results.json", &format!("{value:#}\n"))
}

/// What is measured instead of everything else has a file of its own.
pub fn write_apart(name: &str, measured: Value, options: &Options, machine: Value) -> Result<()> {
    let all = json!({"machine": machine, "options": settings(options), name: measured});
    write(&format!("{name}.json"), &format!("{all:#}\n"))
}

pub fn write_plot(drains: &[Drained]) -> Result<()> {
    if drains.is_empty() {
        return Ok(());
    }
    let progress: Vec<Vec<(f64, u64)>> = drains.iter().map(Drained::progress_of_work).collect();
    write("throughput.svg", &plot::throughput(&progress))
}

pub fn to_json(options: &Options, machine: Value, rounds: Option<&Rounds>, latency: Option<&Latency>) -> Value {
    let mut all = Map::new();
    all.insert("machine".to_owned(), machine);
    all.insert("options".to_owned(), settings(options));
    if let Some(rounds) = rounds {
        all.insert("measurements".to_owned(), measurements(rounds));
        all.insert("ratios".to_owned(), ratios(rounds));
        all.insert("drains".to_owned(), rounds.drains.iter().map(drain).collect());
    }
    if let Some(latency) = latency {
        all.insert("latency".to_owned(), latency_json(latency));
    }
    Value::Object(all)
}

fn settings(options: &Options) -> Value {
    json!({
        "records": options.records(), "rounds": options.rounds, "batch": options.batch, "set": options.set,
        "instances": options.instances, "naive_records": options.naive_records, "rate": options.rate,
        "latency_seconds": options.latency_seconds,
    })
}

fn measurements(rounds: &Rounds) -> Value {
    let mut all = Map::new();
    for subject in Subject::IN_ROUNDS {
        let taken: Vec<&Measured> = rounds.rounds.iter().filter_map(|round| round.get(&subject)).collect();
        if let Some(rate) = table::of_subject(&rounds.rounds, subject, |measured| Some(measured.rate())) {
            let seconds: Vec<f64> = taken.iter().map(|measured| measured.seconds).collect();
            let peaks: Vec<Option<u64>> = taken.iter().map(|measured| measured.peak_bytes).collect();
            let entry = json!({
                "title": subject.title(), "records": taken[0].records, "seconds": seconds,
                "records_per_second": spread(rate), "peak_bytes": peaks,
            });
            all.insert(subject.letter().to_owned(), entry);
        }
    }
    Value::Object(all)
}

fn ratios(rounds: &Rounds) -> Value {
    let ratio = |(above, below): (Subject, Subject)| {
        let ratio = table::ratio(&rounds.rounds, above, below)?;
        Some((format!("{}/{}", above.letter(), below.letter()), spread(ratio)))
    };
    Value::Object(RATIOS.into_iter().filter_map(ratio).collect())
}

fn drain(drained: &Drained) -> Value {
    let summary = drained.summary;
    json!({
        "group_wait_seconds": drained.group_wait, "applied": summary.applied, "duplicates": summary.duplicates,
        "dead_letters": summary.dead_letters, "progress": drained.progress_of_work(),
    })
}

fn latency_json(latency: &Latency) -> Value {
    let of = |millis: &Millis| json!({"p50_ms": millis.p50, "p99_ms": millis.p99, "max_ms": millis.most});
    json!({
        "records": latency.whole.records, "records_per_second": latency.rate, "whole": of(&latency.whole),
        "until_the_broker_has_it": of(&latency.sending),
    })
}

pub fn spread(spread: Spread) -> Value {
    json!({"median": spread.median, "min": spread.least, "max": spread.most})
}
