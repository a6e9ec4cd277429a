//! A verification's report for people.

use serde_json::Value;

use crate::{
    cli::{
        progress::grouped,
        table::{Column, Table},
        terminal::{Terminal, visible, wrapped},
    },
    verify::{Difference, Report},
};

// So much of each is shown at least. Ids are 36 characters as a rule; an event is named by its kind, id and time.
const SESSION: usize = 36;
const FIELD: usize = 60;
const VALUE: usize = 12;

pub(super) fn print(report: &Report) {
    let terminal = Terminal::of_stdout();
    if !report.differences.is_empty() {
        out!("{}", differences(&report.differences, terminal));
        let hidden = report.difference_count - report.differences.len() as u64;
        if hidden > 0 {
            outln!("… and {} more; --limit shows them", grouped(hidden));
        }
        outln!();
    }
    for note in &report.notes {
        outln!("{}", wrapped(note, 2, terminal.width));
    }
    if report.redriven_by_others > 0 {
        let what = "stored by `dead-letters redrive` with other settings than these, which refuse their records";
        let events = if report.redriven_by_others == 1 { "event is" } else { "events are" };
        let line = format!("{} {events} {what}", grouped(report.redriven_by_others));
        outln!("{}", wrapped(&line, 2, terminal.width));
    }
    outln!("{}", wrapped(&closing_line(report), 2, terminal.width));
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

fn differences(differences: &[Difference], terminal: Terminal) -> String {
    let mut table = Table::new([
        Column::text("session").cut_to(SESSION),
        Column::text("field").cut_to(FIELD),
        Column::text("stored").cut_to(VALUE),
        Column::text("expected").cut_to(VALUE),
    ]);
    differences.iter().for_each(|difference| table.add(cells(difference)));
    table.drawn(terminal)
}

fn cells(difference: &Difference) -> [String; 4] {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    };
    let Difference { session_id, field, stored, expected } = difference;
    [visible(session_id), visible(field), text(stored), text(expected)]
}
