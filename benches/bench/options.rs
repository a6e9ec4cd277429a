//! What the command line says.

use std::fmt;

use clap::{Parser, ValueEnum};

/// Measures sessionfold beside what it can be compared with: docs/performance.md, "How it is measured".
#[derive(Clone, Debug, Parser)]
#[command(name = "bench")]
pub struct Options {
    /// Records of the backlog, duplicates and bad ones included [default: 300000; with --memory and --scaling 1000000; with
    /// --growth 100000, which is what each portion has]
    #[arg(long)]
    records: Option<u64>,
    /// How often each measurement is taken, in turn with the others
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Only these, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Subject>,
    /// batch.max_events, of the drain and of the fold [default: the program's]
    #[arg(long)]
    pub batch: Option<usize>,
    /// Another setting of the program, `section.key=value`; may be repeated
    #[arg(long, value_name = "SETTING")]
    pub set: Vec<String>,
    /// Processes that drain together in d, as one group
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=24))]
    pub instances: u32,
    /// Records a second while the latency is measured
    #[arg(long, default_value_t = 5_000)]
    pub rate: u32,
    /// How long the latency is measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(5..))]
    pub latency_seconds: u32,
    /// How many records the naive loop takes
    #[arg(long, default_value_t = 3_000)]
    pub naive_records: usize,
    /// Instead: what an event costs when 100,000 are stored, and when 3,000,000 are
    #[arg(long)]
    pub growth: bool,
    /// Instead: the memory that a long backlog takes
    #[arg(long)]
    pub memory: bool,
    /// Instead: one instance, two and four that drain the backlog, in turns
    #[arg(long)]
    pub scaling: bool,
    /// `cargo bench` says that it is one
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// How many records the backlog has, or a portion of those that growth is measured with. The broker lets instances
    /// begin some hundredths of a second apart, which would count in a short drain: so scaling has more.
    pub fn records(&self) -> u64 {
        self.records.unwrap_or(match self {
            Self { growth: true, .. } => 100_000,
            Self { memory: true, .. } | Self { scaling: true, .. } => 1_000_000,
            _ => 300_000,
        })
    }

    /// Whether something is measured instead of the comparison.
    pub fn is_apart(&self) -> bool {
        self.growth || self.memory || self.scaling
    }

    pub fn wants(&self, subject: Subject) -> bool {
        self.only.is_empty() || self.only.contains(&subject)
    }
}

/// What is measured. The letters are those of the table and of docs/performance.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Subject {
    /// librdkafka alone
    #[value(name = "a")]
    Kafka,
    /// decode and fold alone, from memory
    #[value(name = "b")]
    Fold,
    /// COPY of the very rows
    #[value(name = "c")]
    Copy,
    /// the drain: the program itself
    #[value(name = "d")]
    Drain,
    /// one event a transaction
    #[value(name = "e")]
    Naive,
    /// a pipelined Python script
    #[value(name = "f")]
    Python,
    /// the latency at a steady rate
    Latency,
}

impl Subject {
    /// Those that are measured in rounds, in their order.
    pub const IN_ROUNDS: [Subject; 6] =
        [Subject::Kafka, Subject::Fold, Subject::Copy, Subject::Drain, Subject::Naive, Subject::Python];

    pub fn letter(self) -> &'static str {
        match self {
            Subject::Kafka => "a",
            Subject::Fold => "b",
            Subject::Copy => "c",
            Subject::Drain => "d",
            Subject::Naive => "e",
            Subject::Python => "f",
            Subject::Latency => "latency",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Subject::Kafka => "librdkafka alone",
            Subject::Fold => "decode and fold alone",
            Subject::Copy => "COPY of the very rows",
            Subject::Drain => "sessionfold run --drain",
            Subject::Naive => "one event a transaction",
            Subject::Python => "pipelined Python script",
            Subject::Latency => "latency at a steady rate",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.letter(), self.title())
    }
}
