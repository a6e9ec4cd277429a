//! One measurement, and what many of them come to.

/// How long it took.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub records: u64,
    pub seconds: f64,
    /// The most memory that the process had at once, where it is one of its own.
    pub peak_bytes: Option<u64>,
}

impl Measured {
    /// Records a second.
    pub fn rate(&self) -> f64 {
        self.records as f64 / self.seconds.max(1e-9)
    }
}

/// The middle of some numbers, and how far they are spread.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// None of no numbers.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { median, least, most })
    }
}

/// The number below which this share of sorted numbers lies.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "a share of a length")]
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
