//! As much of PromQL as tells which metrics and labels an expression names.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::files::{rows, text};

/// What Prometheus adds to each series.
const OF_THE_SCRAPE: [&str; 2] = ["job", "instance"];

/// The metrics that there are, each with its labels: the table of docs/http.md, which another test compares with what
/// `/metrics` says.
pub(crate) struct Metrics(BTreeMap<String, BTreeSet<String>>);

impl Metrics {
    pub(crate) fn documented() -> Self {
        let quoted = Regex::new("`([^`]+)`").expect("a pattern");
        let names = |cell: &str| quoted.captures_iter(cell).map(|found| found[1].to_owned()).collect::<Vec<_>>();
        let row = |row: Vec<String>| (names(&row[0]).remove(0), names(&row[2]).into_iter().collect());
        let mut metrics: BTreeMap<_, BTreeSet<_>> =
            rows(&text("docs/http.md"), "## Metrics").into_iter().map(row).collect();
        assert!(metrics.len() > 30 && metrics.contains_key("sessionfold_partition_lag_records"), "{metrics:?}");
        metrics.insert("up".to_owned(), BTreeSet::new());
        for labels in metrics.values_mut() {
            labels.extend(OF_THE_SCRAPE.map(str::to_owned));
        }
        Self(metrics)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The metrics that an expression names. One that doesn't exist, and a label that it doesn't have, is an error.
    pub(crate) fn of(&self, expression: &str) -> Result<BTreeSet<String>, String> {
        let (mut found, mut labels) = (BTreeSet::new(), BTreeSet::new());
        // The literals first: what is in them is no name.
        let expression = pattern(r#""[^"]*""#).replace_all(expression, "\"\"").into_owned();
        for named in pattern(r"\b(sessionfold_\w+|process_\w+|up)\b(?:\{([^}]*)\})?").captures_iter(&expression) {
            let known = self.0.get(&named[1]).ok_or_else(|| format!("no metric {}", &named[1]))?;
            for label in pattern(r"(\w+)\s*(?:=~|!~|!=|=)").captures_iter(named.get(2).map_or("", |of| of.as_str())) {
                known.get(&label[1]).ok_or_else(|| format!("{} has no label {}", &named[1], &label[1]))?;
            }
            labels.extend(known.iter().cloned());
            found.insert(named[1].to_owned());
        }
        for list in pattern(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)").captures_iter(&expression) {
            for label in list[1].split(',').map(str::trim) {
                labels.get(label).ok_or_else(|| format!("no metric of {expression} has a label {label}"))?;
            }
        }
        if found.is_empty() { Err(format!("no metric in {expression}")) } else { Ok(found) }
    }

    /// Whether one of these metrics has the label.
    pub(crate) fn have(&self, metrics: &BTreeSet<String>, label: &str) -> bool {
        metrics.iter().any(|metric| self.0[metric].contains(label))
    }
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}

#[test]
fn a_metric_or_a_label_that_does_not_exist_is_found() {
    let metrics = Metrics::documented();
    assert!(metrics.of(r#"sum by (topic) (sessionfold_partition_lag_records{topic="a", job=~"x{y}"})"#).is_ok());
    for wrong in [
        "sessionfold_partition_lag",
        "process_cpu_seconds_total",
        r#"sessionfold_batches_total{topic="a"}"#,
        "sum by (topic) (sessionfold_batches_total)",
        "vector(0)",
    ] {
        assert!(metrics.of(wrong).is_err(), "{wrong}");
    }
}
