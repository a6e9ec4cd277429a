//! The most memory that the program takes for a long backlog.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    backlog::Topics,
    drain::{self, Processes},
    rig::Rig,
};

const RECORDS: u64 = 1_000_000;

pub async fn run(rig: &Rig) -> Result<Value> {
    let topics = Topics::new("memory");
    let place = rig.fresh_place(&topics).await?;
    let config = rig.config(&place)?;
    println!("sending {RECORDS} records …");
    topics.create(&config.kafka).await?;
    topics.send(&config.kafka, RECORDS, 1).await?;
    let drained = drain::drain(rig, &place, Processes::Alone, RECORDS).await?;
    let (rate, peak) = (drained.measured.rate(), drained.measured.peak_bytes);
    let said = peak.map_or("unknown".to_owned(), |peak| format!("{:.0} MB", peak as f64 / 1e6));
    println!("{RECORDS} records drained at {rate:.0} records/s; peak memory {said}");
    Ok(json!({"records": RECORDS, "records_per_second": rate, "peak_bytes": peak}))
}
