//! The alerts, the dashboard, and what is scraped.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use crate::{
    files::{anchors, at, json, list_at, rows, text, text_at, yaml},
    promql::Metrics,
};

const ALERTS: &str = "deploy/prometheus/alerts.yaml";
const DASHBOARD: &str = "deploy/grafana/sessionfold.json";

/// What an alert is, in the documentation and in the rules: name, expression, minutes. Their order is free.
type Alert = (String, String, u64);

/// The rules with their alerts. Prometheus takes these for one list, whatever their groups.
fn rules() -> Vec<Value> {
    let alerts = yaml(ALERTS);
    list_at(&alerts, "/groups").iter().flat_map(|group| list_at(group, "/rules").to_vec()).collect()
}

fn minutes(text: &str) -> u64 {
    let digits = text.trim_end_matches([' ', 'm', 'i', 'n']);
    digits.parse().unwrap_or_else(|_| panic!("not in minutes: {text}"))
}

/// `a partition is halted` is SessionfoldPartitionIsHalted.
fn name_of(words: &str) -> String {
    let words = words.strip_prefix("a ").or(words.strip_prefix("an ")).unwrap_or(words).replace('\'', "");
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    format!("Sessionfold{}", words.split(' ').map(capital).collect::<String>())
}

#[test]
fn the_alert_rules_are_those_of_the_documentation() {
    let documented = rows(&text("docs/http.md"), "### What to alert on");
    let documented: BTreeSet<Alert> = documented
        .iter()
        .map(|row| (name_of(&row[0]), row[1].trim_matches('`').to_owned(), minutes(&row[2])))
        .collect();
    let rule = |rule: &Value| {
        let minutes = rule.pointer("/for").map_or(0, |time| minutes(time.as_str().expect("a text")));
        (text_at(rule, "/alert").to_owned(), text_at(rule, "/expr").to_owned(), minutes)
    };
    let rules: BTreeSet<Alert> = rules().iter().map(rule).collect();
    assert!(rules.len() > 5);
    assert_eq!(rules, documented);
}

#[test]
fn each_alert_says_what_it_is_how_bad_and_what_to_do() {
    let metrics = Metrics::documented();
    let documented = rows(&text("docs/http.md"), "### What to alert on");
    let variable = Regex::new(r"\$labels\.(\w+)").expect("a pattern");
    for rule in rules() {
        let name = text_at(&rule, "/alert");
        let used = metrics.of(text_at(&rule, "/expr")).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(["critical", "warning"].contains(&text_at(&rule, "/labels/severity")), "{name}");
        for annotation in ["/annotations/summary", "/annotations/description"] {
            let text = text_at(&rule, annotation);
            assert!(!text.is_empty());
            for label in variable.captures_iter(text) {
                assert!(metrics.have(&used, &label[1]), "{name}{annotation}: there is no label {}", &label[1]);
            }
        }
        let runbook = text_at(&rule, "/annotations/runbook");
        let (page, anchor) = runbook.split_once('#').unwrap_or_else(|| panic!("{name}: {runbook}"));
        assert!(anchors(&text(page)).iter().any(|known| known == anchor), "{name}: {page} has no {anchor}");
        let row =
            documented.iter().find(|row| name_of(&row[0]) == name).unwrap_or_else(|| panic!("{name} isn't documented"));
        let link = format!("]({})", runbook.trim_start_matches("docs/"));
        assert!(row[3].contains(&link) || !row[3].contains("]("), "{name}: the documentation has {}", row[3]);
    }
}

#[test]
fn each_alert_is_made_to_fire_by_a_test_of_its_own() {
    let tests = text("deploy/prometheus/alerts_test.yaml");
    for rule in rules() {
        let name = text_at(&rule, "/alert");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "alerts_test.yaml has no {name}");
    }
}

/// The expressions of the dashboard, each with what stands beside it.
fn targets() -> Vec<(String, Value)> {
    let dashboard = json(DASHBOARD);
    let of = |panel: &Value| {
        let title = text_at(panel, "/title").to_owned();
        let targets = panel.pointer("/targets").and_then(Value::as_array).cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.clone(), target)).collect::<Vec<_>>()
    };
    list_at(&dashboard, "/panels").iter().flat_map(of).collect()
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let metrics = Metrics::documented();
    let placeholder = Regex::new(r"\{\{(\w+)\}\}").expect("a pattern");
    let mut shown = BTreeSet::new();
    for (title, target) in targets() {
        let used = metrics.of(text_at(&target, "/expr")).unwrap_or_else(|why| panic!("panel {title}: {why}"));
        for label in placeholder.captures_iter(text_at(&target, "/legendFormat")) {
            assert!(metrics.have(&used, &label[1]), "panel {title}: there is no label {}", &label[1]);
        }
        shown.extend(used);
    }
    let dashboard = json(DASHBOARD);
    for variable in list_at(&dashboard, "/templating/list") {
        if let Some(query) = variable.pointer("/query/query").and_then(Value::as_str) {
            shown.extend(metrics.of(query).unwrap_or_else(|why| panic!("{query}: {why}")));
        }
    }
    let missing: Vec<_> = metrics.names().filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}

#[test]
fn the_dashboard_takes_its_data_source_from_a_variable_and_its_panels_have_places_of_their_own() {
    let dashboard = json(DASHBOARD);
    let variables: Vec<_> = list_at(&dashboard, "/templating/list").iter().map(|of| text_at(of, "/name")).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
    for (title, target) in targets() {
        assert_eq!(text_at(&target, "/datasource/uid"), "${datasource}", "{title}");
    }
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in list_at(&dashboard, "/panels") {
        assert!(ids.insert(at(panel, "/id").as_u64()), "two panels with one id");
        let number = |pointer| at(panel, pointer).as_u64().expect("a number");
        let (x, y) = (number("/gridPos/x"), number("/gridPos/y"));
        let (right, below) = (x + number("/gridPos/w"), y + number("/gridPos/h"));
        assert!(right <= 24, "{} is wider than the grid", text_at(panel, "/title"));
        for cell in (x..right).flat_map(|x| (y..below).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{} lies over another panel", text_at(panel, "/title"));
        }
    }
}

#[test]
fn the_scrape_job_has_the_name_that_alerts_ask_for() {
    let job = "sessionfold";
    assert!(text(ALERTS).contains(&format!("up{{job=\"{job}\"}}")));
    let prometheus = yaml("deploy/prometheus/prometheus.yaml");
    assert_eq!(text_at(&prometheus, "/scrape_configs/0/job_name"), job);
    assert_eq!(text_at(&prometheus, "/rule_files/0"), "alerts.yaml");
    let monitor = yaml("deploy/kubernetes/monitoring/servicemonitor.yaml");
    assert_eq!(text_at(&monitor, "/spec/jobLabel"), "app.kubernetes.io/name");
    assert_eq!(text_at(&monitor, "/spec/selector/matchLabels/app.kubernetes.io~1name"), job);
}
