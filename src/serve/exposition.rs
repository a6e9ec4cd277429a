//! Prometheus's text format, version 0.0.4.
//!
//! Written here, since all values are taken at the moment of the question: a registry, which is what libraries have to
//! offer, would hold nothing but gauges of partitions that are long gone. (`prometheus-client` also writes OpenMetrics
//! only, in which `promtool check metrics` finds counters without a type.)

use std::fmt::{Display, Write};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's values are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    Gauge,
}

/// Families of metrics, as they are written.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Begins a family: its name and help are constants without characters to escape.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &'static str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text: &mut self.0, name }
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.family(Kind::Counter, name, help).sample(&[], value);
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Display) {
        self.family(Kind::Gauge, name, help).sample(&[], value);
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// A family that takes its samples.
#[derive(Debug)]
pub(super) struct Family<'e> {
    text: &'e mut String,
    name: &'static str,
}

impl Family<'_> {
    /// A finite value, with the labels that tell it from the family's others.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(text));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_its_help_its_type_and_its_samples() {
        let mut exposition = Exposition::default();
        exposition.counter("a_total", "All of a.", 3);
        let mut family = exposition.family(Kind::Gauge, "b", "One b.");
        family.sample(&[("topic", "t\"\\\n"), ("partition", "0")], 0.5);
        let expected = "# HELP a_total All of a.\n# TYPE a_total counter\na_total 3\n\
                        # HELP b One b.\n# TYPE b gauge\nb{topic=\"t\\\"\\\\\\n\",partition=\"0\"} 0.5\n";
        assert_eq!(exposition.into_text(), expected);
    }
}
