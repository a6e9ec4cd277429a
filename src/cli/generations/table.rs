//! Generations and their differences, as a person reads them.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use crate::store::{DifferingSession, GenerationDiff};

use super::{
    super::{
        progress::grouped,
        table::{Column, Table},
        terminal::{Terminal, cut, visible},
    },
    Listed, State,
};

/// Columns in front of a field's values.
const FIELD: usize = 23;

pub(super) fn generations(all: &[Listed], terminal: Terminal) -> String {
    let mut table = Table::new([
        Column::text("generation"),
        Column::text("state"),
        Column::number("sessions"),
        Column::text("created"),
        Column::text("promoted"),
        Column::text("settings"),
    ]);
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    for one in all {
        let state = match one.state {
            State::Live => "live",
            State::Previous => "previous",
            State::Rebuilt => "rebuilt",
            State::Unfinished => "unfinished",
        };
        let settings = match (one.inactivity_timeout_seconds, one.reopen_grace_seconds) {
            (Some(timeout), Some(grace)) => format!("inactivity_timeout {timeout}s, reopen_grace {grace}s"),
            _ => "the configuration's".to_owned(),
        };
        let promoted = one.promoted_at.map_or_else(|| "-".to_owned(), time);
        let sessions = grouped(one.sessions);
        table.add([one.name.clone(), state.to_owned(), sessions, time(one.created_at), promoted, settings]);
    }
    table.drawn(terminal)
}

pub(super) fn diff(diff: &GenerationDiff, terminal: Terminal) -> String {
    if diff.is_equal() {
        return "no session differs\n".to_owned();
    }
    let mut text = String::new();
    let mut line = |name: &str, count: u64| {
        let _ = writeln!(text, "  {name:<28} {:>12}", grouped(count));
    };
    line("only in the first", diff.only_in_first);
    line("only in the second", diff.only_in_second);
    line("differing", diff.differing);
    let mut fields: Vec<_> = diff.fields.iter().collect();
    fields.sort_unstable_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    for (field, count) in fields {
        line(&format!("  {field}"), *count);
    }
    if diff.aggregates > 0 {
        line("states of side aggregators", diff.aggregates);
    }
    for session in &diff.examples {
        text.push_str(&example(session, terminal));
    }
    let sessions = diff.only_in_first + diff.only_in_second + diff.differing;
    let more = sessions.saturating_sub(diff.examples.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "{} more: --limit shows them", grouped(more));
    }
    text
}

fn example(session: &DifferingSession, terminal: Terminal) -> String {
    let id = visible(&session.session_id);
    match (session.in_first, session.in_second) {
        (true, false) => format!("{id}: only in the first\n"),
        (false, true) => format!("{id}: only in the second\n"),
        _ => {
            let mut text = format!("{id}\n");
            // Between them stands an arrow.
            let room = terminal.width.saturating_sub(FIELD + 4) / 2;
            for field in &session.fields {
                let (name, first, second) = (&field.field, shown(&field.first, room), shown(&field.second, room));
                let _ = writeln!(text, "  {name:<0$}{first} -> {second}", FIELD - 2);
            }
            text
        }
    }
}

fn shown(value: &Value, room: usize) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    };
    cut(&text, room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FieldDifference;

    #[test]
    fn a_diff_has_its_numbers_first_and_then_examples() {
        let field =
            FieldDifference { field: "status".to_owned(), first: "active".into(), second: "timed\u{1b}[2J_out".into() };
        let example =
            DifferingSession { session_id: "s-1".to_owned(), in_first: true, in_second: true, fields: vec![field] };
        let only =
            DifferingSession { session_id: "s-2".to_owned(), in_first: false, in_second: true, fields: Vec::new() };
        let difference = GenerationDiff {
            only_in_second: 1,
            differing: 1_204,
            fields: [("ended_at".to_owned(), 4), ("status".to_owned(), 1_204)].into(),
            examples: vec![example, only],
            ..GenerationDiff::default()
        };
        let expected = "  only in the first                       0
  only in the second                      1
  differing                           1,204
    status                            1,204
    ended_at                              4
s-1
  status               active -> timed\\u{1b}[2J_out
s-2: only in the second
1,203 more: --limit shows them
";
        let terminal = Terminal { width: 80, colours: false };
        assert_eq!(diff(&difference, terminal), expected);
        assert_eq!(diff(&GenerationDiff::default(), terminal), "no session differs\n");
    }
}
