//! A verification's report for people.

use serde_json::Value;

use crate::{
    cli::{progress::grouped, terminal::cut},
    verify::{Difference, Report},
};

/// Where the terminal doesn't say how wide it is.
const WIDTH: usize = 120;
/// Ids are 36 characters as a rule.
const SESSION: usize = 36;
const LEAST_VALUE: usize = 12;

pub(super) fn print(report: &Report) {
    if !report.differences.is_empty() {
        print_differences(&report.differences);
        let hidden = report.difference_count - report.differences.len() as u64;
        if hidden > 0 {
            outln!("… and {} more; --limit shows them", grouped(hidden));
        }
        outln!();
    }
    for note in &report.notes {
        outln!("{note}");
    }
    outln!("{}", closing_line(report));
    if let (Some(repaired), Some(left)) = (report.repaired, report.left)
        && repaired + left > 0
    {
        outln!("sessions repaired: {}, left as they are: {}", grouped(repaired), grouped(left));
    }
}

fn closing_line(report: &Report) -> String {
    let outcome = match report.difference_count {
        0 => "all equal".to_owned(),
        1 => "1 difference in 1 of them".to_owned(),
        count => format!("{} differences in {} of them", grouped(count), grouped(report.sessions_that_differ)),
    };
    let records = report.records.map(|records| format!(", {} records in the topics", grouped(records)));
    let (sessions, events) = (grouped(report.sessions), grouped(report.events));
    format!("{sessions} sessions, {events} events{}: {outcome}", records.unwrap_or_default())
}

fn print_differences(differences: &[Difference]) {
    let rows: Vec<[String; 4]> = differences.iter().map(cells).collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let session = widest(0).clamp(7, SESSION);
    let field = widest(1).max(5);
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(WIDTH);
    let value = columns.saturating_sub(session + field + 6).max(2 * LEAST_VALUE) / 2;
    let stored = widest(2).clamp(6, value);
    let line = |row: [&str; 4]| {
        let [name, what, is, should_be] = row;
        let (name, is, should_be) = (cut(name, session), cut(is, stored), cut(should_be, value));
        outln!("{name:<session$}  {what:<field$}  {is:<stored$}  {should_be}");
    };
    line(["session", "field", "stored", "expected"]);
    for row in &rows {
        line(row.each_ref().map(String::as_str));
    }
}

/// Without control characters, which a terminal would obey.
fn cells(difference: &Difference) -> [String; 4] {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    };
    let Difference { session_id, field, stored, expected } = difference;
    [session_id.escape_debug().to_string(), field.escape_debug().to_string(), text(stored), text(expected)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_to_the_width_and_show_that_they_were() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdéfg", 6), "abcdé…");
    }
}
