//! What it was measured on.

use std::process::Command;

use anyhow::Result;
use serde_json::{Map, Value, json};
use sqlx::Connection;

use crate::rig::Rig;

/// Of Postgres, what a figure depends on.
const POSTGRES_SETTINGS: [&str; 7] = [
    "server_version",
    "shared_buffers",
    "max_wal_size",
    "synchronous_commit",
    "fsync",
    "full_page_writes",
    "wal_compression",
];

pub async fn facts(rig: &Rig) -> Result<Value> {
    let mut connection = rig.connect().await?;
    let mut postgres = Map::new();
    for name in POSTGRES_SETTINGS {
        let value: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut connection).await?;
        postgres.insert(name.to_owned(), value.into());
    }
    connection.close().await?;
    Ok(json!({
        "cores": std::thread::available_parallelism()?.get(),
        "cpu": after_colon("/proc/cpuinfo", "model name"),
        "memory": after_colon("/proc/meminfo", "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "load_before": load(),
        "postgres": postgres,
        "librdkafka": rdkafka::util::get_rdkafka_version().1,
        "commit": git(&["rev-parse", "HEAD"]),
        "changed_files": git(&["status", "--porcelain"]).map(|files| files.lines().count()),
    }))
}

/// How many processes wanted to run over the last minute; what else runs on the machine distorts all figures.
pub fn load() -> Option<f64> {
    read("/proc/loadavg")?.split_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

fn after_colon(path: &str, name: &str) -> Option<String> {
    let text = read(path)?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
