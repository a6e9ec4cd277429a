//! The most memory that the program takes for a long backlog.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    backlog::Topics,
    drain::{self, Processes},
    options::Options,
    rig::Rig,
};

pub async fn run(rig: &Rig, options: &Options) -> Result<Value> {
    let records = options.records();
    let topics = Topics::new("memory");
    let place = rig.fresh_place(&topics).await?;
    let config = rig.config(&place)?;
    println!("sending {records} records …");
    topics.create(&config.kafka).await?;
    topics.send(&config.kafka, records, 1).await?;
    let drained = drain::drain(rig, &place, Processes::Alone, records).await?;
    let (rate, peak) = (drained.measured.rate(), drained.measured.peak_bytes);
    let said = peak.map_or("unknown".to_owned(), |peak| format!("{:.0} MB", peak as f64 / 1e6));
    println!("{records} records drained at {rate:.0} records/s; peak memory {said}");
    Ok(json!({"records_per_second": rate, "peak_bytes": peak}))
}
