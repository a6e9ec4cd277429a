//! What `sessionfold run --drain` prints at its end, read back.

use anyhow::{Context, Result, ensure};

#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub records: u64,
    pub applied: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub ignored: u64,
    pub dead_letters: u64,
    pub seconds: f64,
}

impl Summary {
    pub fn parse(text: &str) -> Result<Self> {
        let find = |name: &str| {
            let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix("  "));
            line.map(|number| number.trim().replace(',', ""))
        };
        let must_find = |name: &str| find(name).with_context(|| format!("no line `{name}` in the summary:\n{text}"));
        let count = |name: &str| -> Result<u64> { Ok(must_find(name)?.parse()?) };
        Ok(Self {
            records: count("records")?,
            applied: count("applied")?,
            duplicates: count("duplicates")?,
            // Printed only where there are any.
            rejected: find("rejected").map_or(Ok(0), |count| count.parse())?,
            ignored: count("ignored")?,
            dead_letters: count("dead letters")?,
            seconds: must_find("seconds")?.parse()?,
        })
    }

    /// Of all instances of a group. The time is the longest.
    pub fn sum(summaries: &[Self]) -> Self {
        summaries.iter().fold(Self::default(), |sum, one| Self {
            records: sum.records + one.records,
            applied: sum.applied + one.applied,
            duplicates: sum.duplicates + one.duplicates,
            rejected: sum.rejected + one.rejected,
            ignored: sum.ignored + one.ignored,
            dead_letters: sum.dead_letters + one.dead_letters,
            seconds: sum.seconds.max(one.seconds),
        })
    }

    /// Each record must have come to something.
    pub fn check(&self, records: u64) -> Result<()> {
        let Self { applied, duplicates, rejected, ignored, dead_letters, .. } = self;
        let accounted = applied + duplicates + rejected + ignored + dead_letters;
        ensure!(accounted == records, "{records} records were to be drained, {accounted} are accounted for: {self:?}");
        Ok(())
    }
}
