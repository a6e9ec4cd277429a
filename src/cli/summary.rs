//! What a run came to, on standard output.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::pipeline::Totals;

use super::progress::{grouped, per_second};

pub(super) fn line(name: &str, count: u64) {
    outln!("  {name:<28} {:>12}", grouped(count));
}

pub(super) fn print(totals: &Totals, discarded: u64, time: Duration) {
    line("records", totals.records());
    line("applied", totals.applied);
    line("duplicates", totals.duplicates);
    if totals.rejected() > 0 {
        line("rejected", totals.rejected());
        for (rejection, count) in &totals.rejected {
            line(&format!("  {rejection}"), *count);
        }
    }
    line("ignored", totals.ignored);
    line("dead letters", totals.dead_letters());
    for (reason, count) in totals.dead_letters_by_reason() {
        line(&format!("  {}", reason.as_str()), count);
    }
    if discarded > 0 {
        line("read again", discarded);
    }
    outln!("  {:<28} {:>12.2}", "seconds", time.as_secs_f64());
    line("records/s", per_second(totals.records(), time));
}

/// The same as members of a JSON object.
pub(super) fn as_json(totals: &Totals, time: Duration) -> Map<String, Value> {
    let letters = totals.dead_letters_by_reason().map(|(reason, count)| (reason.as_str().to_owned(), json!(count)));
    let members = [
        ("records", json!(totals.records())),
        ("applied", json!(totals.applied)),
        ("duplicates", json!(totals.duplicates)),
        ("ignored", json!(totals.ignored)),
        ("rejected", json!(totals.rejected())),
        ("dead_letters", json!(totals.dead_letters())),
        ("dead_letters_by_reason", Value::Object(letters.collect())),
        ("seconds", json!(time.as_secs_f64())),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}
