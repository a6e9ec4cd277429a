//! c: the very rows of a drain, written by COPY into fresh tables with all their keys, constraints and indexes. Nothing
//! is known to get rows into Postgres faster by one connection, so what the drain takes longer is its own.

use std::time::Instant;

use anyhow::{Result, ensure};
use futures_util::TryStreamExt;
use sqlx::{Connection, PgConnection};

use crate::{
    backlog::Topics,
    measured::Measured,
    rig::{Place, Rig},
    tables,
};

/// How much goes into one message of the protocol.
const CHUNK: usize = 64 << 10;

/// The rows of one table, as COPY writes and reads them in binary.
pub struct Exported {
    table: &'static str,
    columns: String,
    rows: u64,
    bytes: Vec<u8>,
}

/// All rows of a place.
pub async fn export(rig: &Rig, place: &Place) -> Result<Vec<Exported>> {
    let mut connection = rig.connect_to(place).await?;
    let mut exported = Vec::new();
    for table in tables::WRITTEN {
        let columns = tables::columns(&mut connection, &place.schema, table).await?;
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let rows: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await?;
        let mut bytes = Vec::new();
        let statement = format!("COPY {table} ({columns}) TO STDOUT (FORMAT binary)");
        let mut parts = connection.copy_out_raw(&statement).await?;
        while let Some(part) = parts.try_next().await? {
            bytes.extend_from_slice(&part);
        }
        drop(parts);
        exported.push(Exported { table, columns, rows: u64::try_from(rows)?, bytes });
    }
    connection.close().await?;
    Ok(exported)
}

/// Writes them in one transaction. `records` is what they were made of.
pub async fn measure(rig: &Rig, topics: &Topics, exported: &[Exported], records: u64) -> Result<Measured> {
    let place = rig.fresh_place(topics).await?;
    let mut connection = rig.connect_to(&place).await?;
    let begun = Instant::now();
    let mut transaction = connection.begin().await?;
    for table in exported {
        let rows = copy_in(&mut transaction, table).await?;
        ensure!(rows == table.rows, "{} of {} rows copied into {}", rows, table.rows, table.table);
    }
    transaction.commit().await?;
    let seconds = begun.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(Measured { records, seconds, peak_bytes: None })
}

async fn copy_in(connection: &mut PgConnection, table: &Exported) -> Result<u64> {
    let statement = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.table, table.columns);
    let mut copy = connection.copy_in_raw(&statement).await?;
    for chunk in table.bytes.chunks(CHUNK) {
        copy.send(chunk).await?;
    }
    Ok(copy.finish().await?)
}
