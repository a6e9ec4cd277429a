//! A strict reader of Prometheus's text format 0.0.4.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

/// A family by its name.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    /// By their labels, as they were written.
    pub samples: BTreeMap<String, f64>,
}

/// All families. Each has help, then a type, then samples of its own name only, each set of labels once.
pub fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'));
    let help = Regex::new(r"^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (\S.*)$").unwrap();
    let kind = Regex::new(r"^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge)$").unwrap();
    let label = r#"[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*""#;
    let sample = format!(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{{{label}(?:,{label})*\}})? (-?[0-9]+(?:\.[0-9]+)?)$");
    let sample = Regex::new(&sample).unwrap();
    let (mut families, mut helped) = (BTreeMap::<String, Family>::new(), BTreeSet::new());
    let mut current = String::new();
    for line in text.lines() {
        if let Some(found) = help.captures(line) {
            assert!(helped.insert(found[1].to_owned()), "helped twice: {line}");
            current = found[1].to_owned();
        } else if let Some(found) = kind.captures(line) {
            assert_eq!(found[1], current, "{line}");
            assert_eq!(&found[2] == "counter", current.ends_with("_total"), "{line}");
            let family = Family { kind: found[2].to_owned(), ..Family::default() };
            assert!(families.insert(current.clone(), family).is_none(), "typed twice: {line}");
        } else {
            let found = sample.captures(line).unwrap_or_else(|| panic!("no sample: {line}"));
            assert_eq!(found[1], current, "{line}");
            let labels = found.get(2).map_or("", |labels| labels.as_str()).to_owned();
            let value = found[3].parse().unwrap();
            let family = families.get_mut(&current).unwrap_or_else(|| panic!("no type before: {line}"));
            assert!(family.samples.insert(labels, value).is_none(), "twice: {line}");
        }
    }
    families
}
