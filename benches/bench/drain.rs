//! d: the drain itself, by the real program in processes of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sqlx::PgConnection;

use crate::{
    measured::Measured,
    process::{Process, sessionfold},
    rig::{Place, Rig},
    summary::Summary,
};

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How often Postgres is asked where the program itself tells how long it took.
const ASK: Duration = Duration::from_millis(100);

/// Who drains.
#[derive(Clone, Copy, Debug)]
pub enum Processes {
    /// One, which says itself how long it took.
    Alone,
    /// As many as one group, timed from outside, since several have no clock in common: from the first checkpoint, which
    /// is made just before reading begins, to the last change of one.
    Watched(u32),
}

impl Processes {
    /// So that a single one is timed as well as can be.
    pub fn of(instances: u32) -> Self {
        if instances == 1 { Self::Alone } else { Self::Watched(instances) }
    }

    fn count(self) -> u32 {
        match self {
            Self::Alone => 1,
            Self::Watched(count) => count,
        }
    }

    /// How often Postgres is asked how far they are.
    fn ask_every(self) -> Duration {
        match self {
            Self::Alone => ASK,
            Self::Watched(_) => LOOK,
        }
    }
}

/// A drain that came out right.
pub struct Drained {
    pub measured: Measured,
    /// From the start of the first process to the first checkpoint: mostly the wait for the group.
    pub group_wait: f64,
    pub summary: Summary,
    /// Seconds since the first process was started, and records committed by then.
    pub progress: Vec<(f64, u64)>,
}

/// Drains what the place's group has not read yet, which must be that many records.
pub async fn drain(rig: &Rig, place: &Place, who: Processes, records: u64) -> Result<Drained> {
    let mut connection = rig.connect_to(place).await?;
    let before = committed(&mut connection, place).await?.unwrap_or(0);
    let begun = Instant::now();
    let start = || sessionfold(rig, place, &["run", "--drain"]);
    let mut processes = (0..who.count()).map(|_| start()).collect::<Result<Vec<Process>>>()?;
    let mut progress = watch(&mut connection, place, &mut processes, who.ask_every(), begun).await?;
    for (_, sum) in &mut progress {
        *sum -= before;
    }

    let outputs = processes.iter_mut().map(Process::output).collect::<Result<Vec<_>>>()?;
    let summaries = outputs.iter().map(|output| Summary::parse(output)).collect::<Result<Vec<_>>>()?;
    let summary = Summary::sum(&summaries);
    summary.check(records)?;
    let last = progress.last().map_or(0, |(_, sum)| *sum);
    ensure!(last == records, "{records} records were to be drained, the checkpoints moved by {last}");
    let (first_seen, end) = (begin_of(&progress), end_of(&progress));
    let seconds = match who {
        Processes::Alone => summary.seconds,
        Processes::Watched(_) => end - first_seen,
    };
    let peak_bytes = processes.iter().filter_map(Process::peak_bytes).max();
    Ok(Drained { measured: Measured { records, seconds, peak_bytes }, group_wait: first_seen, summary, progress })
}

/// Until all have ended.
async fn watch(
    connection: &mut PgConnection,
    place: &Place,
    processes: &mut [Process],
    every: Duration,
    begun: Instant,
) -> Result<Vec<(f64, u64)>> {
    let (mut progress, mut asked) = (Vec::new(), None::<Instant>);
    loop {
        let mut all_ended = true;
        for process in processes.iter_mut() {
            process.look_at_memory();
            all_ended &= process.ended()?.is_some();
        }
        if all_ended || asked.is_none_or(|asked| asked.elapsed() >= every) {
            asked = Some(Instant::now());
            if let Some(sum) = committed(connection, place).await? {
                progress.push((begun.elapsed().as_secs_f64(), sum));
            }
        }
        if all_ended {
            return Ok(progress);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How many records the checkpoints say are in the tables; none before there are any.
async fn committed(connection: &mut PgConnection, place: &Place) -> Result<Option<u64>> {
    let sum: Option<i64> = sqlx::query_scalar("SELECT sum(next_offset)::bigint FROM checkpoints WHERE group_id = $1")
        .bind(&place.group)
        .fetch_one(connection)
        .await
        .context("asking for the checkpoints")?;
    Ok(sum.map(u64::try_from).transpose()?)
}

fn begin_of(progress: &[(f64, u64)]) -> f64 {
    progress.first().map_or(0.0, |(at, _)| *at)
}

/// When the last record was first seen.
fn end_of(progress: &[(f64, u64)]) -> f64 {
    let last = progress.last().map_or(0, |(_, sum)| *sum);
    progress.iter().find(|(_, sum)| *sum == last).map_or(0.0, |(at, _)| *at)
}

impl Drained {
    /// The same with the time counted from the beginning of the work.
    pub fn progress_of_work(&self) -> Vec<(f64, u64)> {
        let begin = end_of(&self.progress) - self.measured.seconds;
        self.progress.iter().map(|(at, sum)| (at - begin, *sum)).collect()
    }
}
