//! One session's row against the fold of its stored events, field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    event::{EventTime, SessionId},
    fold::{Aggregators, EndCause, FoldedSession, FoldedState, SessionAggregator, SessionChange, Status},
    store::StoredSession,
};

use super::report::Difference;

/// What the row should say. One that timed out is compared with what it would be if it were asked about when it was
/// read. Where a time-out is final it is history, which the stored events don't tell: there the row is believed.
pub(super) fn expected<A: SessionAggregator>(
    aggregator: &A,
    folded: &FoldedSession<A::State>,
    stored: Option<&StoredSession>,
) -> FoldedSession<A::State> {
    let asked_at = |row: &StoredSession| if aggregator.depends_on_order() { EventTime::MAX } else { row.read_at };
    let as_of = stored.filter(|row| timed_out(row)).map(asked_at);
    let state = FoldedState { state: folded.state().clone(), digest: folded.digest() };
    FoldedSession::new(aggregator, state, as_of)
}

/// Whether the row says so. Either of two columns may have been changed by hand.
fn timed_out(row: &StoredSession) -> bool {
    row.status == Status::TimedOut
        || row.row.get("end_provenance") == Some(&EndCause::Timeout.provenance().as_str().into())
}

/// Every field of the session that isn't as its stored events say.
pub(super) fn differences<A: SessionAggregator>(
    aggregators: &Aggregators<A>,
    stored: &StoredSession,
    folded: &SessionChange<'_, A::State>,
) -> Vec<Difference> {
    let session_id = &stored.session_id;
    let row = expected(&aggregators.session, &folded.folded, Some(stored));
    let mut found = Vec::new();
    for (column, expected) in columns(aggregators, &row) {
        let stored = as_compared(&column, stored.row.get(&column).cloned().unwrap_or_default());
        if !same(&stored, &expected) {
            found.push(Difference::new(session_id, column, stored, expected));
        }
    }
    found.extend(sides(aggregators, session_id, &stored.row));
    found.extend(side_states(stored, folded));
    found
}

/// The columns that a fold gives, but for `sides`. A snapshot's fields have the names of their columns.
fn columns<A: SessionAggregator>(aggregators: &Aggregators<A>, folded: &FoldedSession<A::State>) -> Map<String, Value> {
    let snapshot = folded.snapshot();
    let mut columns = match json!(snapshot) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    columns.insert("end_provenance".to_owned(), json!(snapshot.end_cause.map(|cause| cause.provenance())));
    columns.insert("aggregator".to_owned(), aggregators.session.id().to_string().into());
    columns.insert("event_digest".to_owned(), folded.digest().to_string().into());
    let state = serde_json::to_value(folded.state()).unwrap_or_else(|error| unwritable(error.to_string()));
    columns.insert("state".to_owned(), state);
    columns
}

/// Stands for a state whose own `Serialize` fails.
fn unwritable(error: String) -> Value {
    format!("can't be written: {error}").into()
}

/// A stored value as the fold writes it.
fn as_compared(column: &str, value: Value) -> Value {
    match (column, &value) {
        ("started_at" | "ended_at" | "first_event_at" | "last_event_at", Value::String(text)) => {
            EventTime::parse(text).map_or(value, |time| json!(time))
        }
        ("event_digest", Value::String(text)) => text.trim_start_matches("\\x").into(),
        _ => value,
    }
}

/// The side aggregators that the row doesn't claim to hold. Those that it holds and that aren't configured are left
/// alone: another program may have them.
fn sides<A>(aggregators: &Aggregators<A>, session_id: &SessionId, row: &Map<String, Value>) -> Option<Difference> {
    let stored = row.get("sides").cloned().unwrap_or_default();
    let holds = |id: &String| stored.as_array().is_some_and(|sides| sides.iter().any(|side| side == id));
    let wanted: Vec<String> = aggregators.sides.ids().map(|id| id.to_string()).collect();
    (!wanted.iter().all(holds)).then(|| Difference::new(session_id, "sides", stored.clone(), json!(wanted)))
}

fn side_states<S>(stored: &StoredSession, folded: &SessionChange<'_, S>) -> Vec<Difference> {
    let mut expected = BTreeMap::new();
    for side in &folded.sides {
        for (key, state) in &side.states {
            let state = state.as_ref().map_err(ToString::to_string);
            let state = state.and_then(|state| serde_json::from_str(state.get()).map_err(|error| error.to_string()));
            expected.insert((side.id.name().to_owned(), key.clone()), state.unwrap_or_else(unwritable));
        }
    }
    let mut names: Vec<_> = expected.keys().chain(stored.sides.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let difference = |name: &(String, String)| {
        let (stored_state, expected) = (stored.sides.get(name), expected.get(name));
        let is_same = stored_state.zip(expected).is_some_and(|(stored, expected)| same(stored, expected));
        let field = || format!("aggregates {} '{}'", name.0, name.1);
        let value = |state: Option<&Value>| state.cloned().unwrap_or_else(|| "missing".into());
        (!is_same).then(|| Difference::new(&stored.session_id, field(), value(stored_state), value(expected)))
    };
    names.into_iter().filter_map(difference).collect()
}

/// Whether two values are the same. Numbers are by value: Postgres may write 100 for what was 1e2.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_by_value() {
        assert!(same(&json!({"a": [1.0, 1e17]}), &json!({"a": [1, 100_000_000_000_000_000_u64]})));
        assert!(!same(&json!(9_007_199_254_740_993_i64), &json!(9_007_199_254_740_992_i64)));
        assert!(!same(&json!({"a": null}), &json!({})));
    }
}
