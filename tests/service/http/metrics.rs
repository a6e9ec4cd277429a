//! `/metrics`.

use std::collections::BTreeMap;

use crate::{
    deployment::Deployment,
    outbox::with_topic,
    program::{Instance, until},
    records::{ended, prompt, record, started, tool},
};
use sessionfold::event::EventKind;

use super::{
    client::{Client, PATIENCE},
    exposition::{Family, parse},
    ready,
};

async fn scraped(client: &Client) -> BTreeMap<String, Family> {
    let answer = client.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    parse(&answer.body)
}

/// The table of the documentation: names, types and labels.
fn documented() -> BTreeMap<String, (String, Vec<String>)> {
    let text = include_str!("../../../docs/http.md");
    let (_, table) = text.split_once("| name | type | labels | meaning |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").filter(|label| !label.is_empty());
        (
            cells[1].trim_matches('`').to_owned(),
            (cells[2].to_owned(), labels.map(|l| l.trim_matches('`').to_owned()).collect()),
        )
    };
    rows.map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_metric_is_there_with_its_type_and_labels_and_the_records_add_up() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_RETENTION__DEAD_LETTERS", "90d");
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "200ms");
    // Nobody is there: what is sent to it is counted all the same.
    deployment.set("SESSIONFOLD_TRACES__ENDPOINT", "http://127.0.0.1:1/v1/traces");
    with_topic(&mut deployment).await;
    let (_instance, client) = ready(&mut deployment).await;
    deployment
        .send(&[
            started("s", 1, "2026-03-01T09:00:00Z"),
            prompt("s", 2, "2026-03-01T09:00:01Z"),
            prompt("s", 2, "2026-03-01T09:00:01Z"),
            tool("s", 3, "2026-03-01T09:00:02Z", "Bash"),
            ended("s", 4, "2026-03-01T09:00:03Z"),
            record(EventKind::Tool, "s", 5, "2026-03-01T09:00:03Z", serde_json::json!({})),
        ])
        .await;
    let value = |families: &BTreeMap<String, Family>, name: &str, labels: &str| families[name].samples[labels];
    let all_in = async || {
        let families = scraped(&client).await;
        value(&families, "sessionfold_records_read_total", "") == 6.0
            && value(&families, "sessionfold_records_in_hand", "") == 0.0
            // Lags are known once librdkafka has told how it stands, which it does once a second.
            && families["sessionfold_partition_lag_records"].samples.len() == 4
            && families["sessionfold_part_last_round_timestamp_seconds"].samples.len() == 3
            && value(&families, "sessionfold_outbox_published_total", "") > 0.0
    };
    until(
        "all records are committed, a round of each part has ended, and a change of status is published",
        PATIENCE,
        all_in,
    )
    .await;
    let families = scraped(&client).await;
    let count = |name: &str, labels: &str| value(&families, name, labels);
    assert_eq!(count("sessionfold_records_applied_total", ""), 4.0);
    assert_eq!(count("sessionfold_records_duplicate_total", ""), 1.0);
    assert_eq!(count("sessionfold_records_dead_letter_total", "{reason=\"schema\"}"), 1.0);
    assert!(count("sessionfold_transactions_total", "{name=\"commit_batch\",outcome=\"commit\"}") >= 1.0);
    assert_eq!(count("sessionfold_partitions_assigned", ""), 4.0);
    assert_eq!(count("sessionfold_outbox_failures_total", "{what=\"record\"}"), 0.0);
    assert_eq!(count("sessionfold_outbox_set_aside", ""), 0.0);
    assert!(count("process_resident_memory_bytes", "") > 1e6);

    let documented = documented();
    assert!(documented.len() > 30);
    assert_eq!(families.keys().collect::<Vec<_>>(), documented.keys().collect::<Vec<_>>());
    for (name, (kind, labels)) in &documented {
        let family = &families[name];
        assert_eq!(&family.kind, kind, "{name}");
        // The convergent aggregator rejects nothing.
        assert!(!family.samples.is_empty() || name == "sessionfold_records_rejected_total", "{name}");
        for sample in family.samples.keys() {
            let found: Vec<&str> = sample.trim_matches(['{', '}']).split(',').filter(|l| !l.is_empty()).collect();
            let found: Vec<&str> = found.iter().map(|label| label.split('=').next().unwrap()).collect();
            assert_eq!(&found, labels, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gauges_of_a_partition_that_was_taken_away_are_gone() {
    const PER_PARTITION: [&str; 2] = ["sessionfold_partition_lag_records", "sessionfold_partition_halted"];
    let mut deployment = Deployment::new(2).await;
    let (_first, client) = ready(&mut deployment).await;
    let partitions = async |client: &Client| {
        let families = scraped(client).await;
        PER_PARTITION.map(|name| families[name].samples.keys().cloned().collect::<Vec<_>>())
    };
    let all = async || partitions(&client).await.iter().all(|of| of.len() == 8);
    until("all partitions have gauges", PATIENCE, all).await;
    let before = partitions(&client).await;

    let second = Instance::start(&deployment, &["run"]);
    let other = Client::of(&second).await;
    let shared = async || {
        let (mine, others) = (partitions(&client).await, partitions(&other).await);
        mine.iter().chain(&others).all(|of| of.len() == 4)
    };
    until("each has the gauges of its own half", PATIENCE, shared).await;
    let (mine, others) = (partitions(&client).await, partitions(&other).await);
    for index in 0..PER_PARTITION.len() {
        let mut both = [mine[index].clone(), others[index].clone()].concat();
        both.sort();
        assert_eq!(both, before[index], "each partition has one owner");
    }
}
