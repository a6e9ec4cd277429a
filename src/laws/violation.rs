//! A law that is broken, and by which events.

use std::fmt;

use serde_json::Value;

use crate::event::Event;

use super::{delivery::Delivery, law::Law, subject::Results};

/// A law is broken, as two deliveries of the same events show.
#[derive(Debug)]
pub struct Violation {
    pub(super) law: Law,
    pub(super) cases: u32,
    pub(super) plain: Delivery,
    pub(super) otherwise: Delivery,
    pub(super) difference: Difference,
}

#[derive(Debug)]
pub(super) enum Difference {
    Results {
        one: Results,
        other: Results,
    },
    Counts {
        applied: u64,
        distinct: u64,
    },
    /// A panic, or a state that is no JSON.
    Failure(String),
}

impl Violation {
    pub fn law(&self) -> Law {
        self.law
    }

    /// How many cases were tried until one broke the law.
    pub fn cases(&self) -> u32 {
        self.cases
    }

    /// The events as they were delivered in one batch.
    pub fn events(&self) -> Vec<&Event> {
        self.plain.events().collect()
    }

    /// The events as they were delivered the other way.
    pub fn events_otherwise(&self) -> Vec<&Event> {
        self.otherwise.events().collect()
    }
}

impl std::error::Error for Violation {}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "law of {} (case {})", self.law, self.cases)?;
        writeln!(f, "delivered in one batch:\n{}delivered otherwise:\n{}", self.plain, self.otherwise)?;
        match &self.difference {
            Difference::Results { one, other } => write_results(f, one, other),
            Difference::Counts { applied, distinct } => {
                writeln!(f, "delivered otherwise, {applied} of {distinct} distinct events count as applied")
            }
            Difference::Failure(message) => writeln!(f, "{message}"),
        }
    }
}

/// What differs, both in full.
fn write_results(f: &mut fmt::Formatter<'_>, one: &Results, other: &Results) -> fmt::Result {
    let mut labels: Vec<&String> = one.keys().chain(other.keys()).collect();
    labels.sort_unstable();
    labels.dedup();
    for label in labels {
        let (one, other) = (one.get(label).unwrap_or(&Value::Null), other.get(label).unwrap_or(&Value::Null));
        if one != other {
            writeln!(f, "{label} in one batch:\n  {one}\n{label} otherwise:\n  {other}\nthey differ in:")?;
            write_differences(f, "", one, other)?;
        }
    }
    Ok(())
}

/// The members that differ, down to the smallest.
fn write_differences(f: &mut fmt::Formatter<'_>, path: &str, one: &Value, other: &Value) -> fmt::Result {
    let (Value::Object(members), Value::Object(others)) = (one, other) else {
        let path = path.trim_start_matches('.');
        return if one == other { Ok(()) } else { writeln!(f, "  {path}: {one} and {other}") };
    };
    let absent = others.keys().filter(|name| !members.contains_key(*name));
    for name in members.keys().chain(absent) {
        let member = |members: &serde_json::Map<String, Value>| members.get(name).cloned().unwrap_or(Value::Null);
        write_differences(f, &format!("{path}.{name}"), &member(members), &member(others))?;
    }
    Ok(())
}
