//! What was measured, as a table for people.

use crate::{
    latency::{Latency, Millis},
    measured::{Measured, Spread},
    options::Subject,
    rounds::{Round, Rounds},
};

/// What the drain is compared with, rate by rate of the same round.
pub const RATIOS: [(Subject, Subject); 3] =
    [(Subject::Drain, Subject::Copy), (Subject::Drain, Subject::Naive), (Subject::Drain, Subject::Python)];

pub fn print_rounds(rounds: &Rounds) {
    println!("\n{:<32} {:>9} {:>9} {:>9}   peak memory", "records/s", "median", "min", "max");
    for subject in Subject::IN_ROUNDS {
        if let Some(rate) = of_subject(&rounds.rounds, subject, |measured| Some(measured.rate())) {
            let peak = of_subject(&rounds.rounds, subject, |measured| Some(measured.peak_bytes? as f64 / 1e6));
            let peak = peak.map(|peak| format!("{:>7.0} MB", peak.most)).unwrap_or_default();
            println!("{:<32} {:>9.0} {:>9.0} {:>9.0}  {peak}", subject.to_string(), rate.median, rate.least, rate.most);
        }
    }
    println!();
    for (above, below) in RATIOS {
        if let Some(ratio) = ratio(&rounds.rounds, above, below) {
            let name = format!("{}/{}", above.letter(), below.letter());
            println!("{name:<32} {:>9.3} {:>9.3} {:>9.3}", ratio.median, ratio.least, ratio.most);
        }
    }
    if let Some(wait) = Spread::of(rounds.drains.iter().map(|drained| drained.group_wait)) {
        let name = "d, before it: the group, s";
        println!("{name:<32} {:>9.2} {:>9.2} {:>9.2}", wait.median, wait.least, wait.most);
    }
}

pub fn print_latency(latency: &Latency) {
    println!("\nlatency at {:.0} records/s, {} records", latency.rate, latency.whole.records);
    println!("{:<44} {:>9} {:>9} {:>9}", "ms", "p50", "p99", "max");
    let line = |name: &str, millis: &Millis| {
        println!("{name:<44} {:>9.1} {:>9.1} {:>9.1}", millis.p50, millis.p99, millis.most);
    };
    line("from before the send until seen in Postgres", &latency.whole);
    line("  of it until the broker has the record", &latency.sending);
}

/// Something of each round's measurement of one subject.
pub fn of_subject(rounds: &[Round], subject: Subject, of: impl Fn(&Measured) -> Option<f64>) -> Option<Spread> {
    Spread::of(rounds.iter().filter_map(|round| of(round.get(&subject)?)))
}

/// The ratio of two rates, each of one round.
pub fn ratio(rounds: &[Round], above: Subject, below: Subject) -> Option<Spread> {
    let of_round = |round: &Round| Some(round.get(&above)?.rate() / round.get(&below)?.rate());
    Spread::of(rounds.iter().filter_map(of_round))
}
