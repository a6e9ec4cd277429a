//! f: a pipelined Python script, as an able engineer writes it in an afternoon: `benches/pipelined.py`.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::{
    backlog::{PARTITIONS, Topics},
    measured::Measured,
    process::Process,
    rig::Rig,
};

const INTERPRETER: &str = "target/bench/venv/bin/python";
const SCRIPT: &str = "benches/pipelined.py";
const LOOK: Duration = Duration::from_millis(20);

/// What the script prints at its end.
#[derive(Deserialize)]
struct Report {
    records: u64,
    seconds: f64,
    /// Rows of events.
    events: u64,
}

/// Whether what `scripts/bench.sh` installs is there.
pub fn check() -> Result<()> {
    ensure!(
        Path::new(INTERPRETER).exists(),
        "{INTERPRETER} is missing: run scripts/bench.sh, or leave the script out with --only a,b,c,d,e,latency"
    );
    Ok(())
}

/// Returns also how many events are in its tables, which must be the same each time.
pub async fn measure(rig: &Rig, topics: &Topics, records: u64) -> Result<(Measured, u64)> {
    // A schema with tables that it doesn't use does no harm.
    let place = rig.fresh_place(topics).await?;
    let mut command = Command::new(INTERPRETER);
    command
        .arg(SCRIPT)
        .args([rig.brokers(), rig.postgres_url(), place.schema.clone(), topics.names().join(",")])
        .args([PARTITIONS.to_string(), records.to_string()]);
    let mut process = Process::start(command)?;
    while process.ended()?.is_none() {
        process.look_at_memory();
        tokio::time::sleep(LOOK).await;
    }
    let peak_bytes = process.peak_bytes();
    let report: Report = serde_json::from_str(&process.output()?)?;
    ensure!(report.records == records, "the script committed {} of {records} records", report.records);
    Ok((Measured { records, seconds: report.seconds, peak_bytes }, report.events))
}
