//! Whatever is wrong before the start: one clear line with the remedy, no backtrace, no password.

use std::process::Output;

use crate::{deployment::Deployment, program::run};

pub fn assert_refused(output: &Output, code: i32, says: &[&str]) {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("sessionfold: ")).collect();
    assert_eq!(lines.len(), 1, "{error}");
    for part in says {
        assert!(lines[0].contains(part), "{} should say {part}", lines[0]);
    }
    assert!(!error.contains("hunter2"), "{error}");
    assert!(!error.contains("stack backtrace"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_configuration_key_is_named_with_the_nearest_known_one() {
    let deployment = Deployment::new(1).await;
    let output = run(&deployment, &["run", "--set", "batch.max_event=5"]);
    assert_refused(&output, 2, &["batch.max_event", "batch.max_events"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_broker_is_named() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_KAFKA__BROKERS", "127.0.0.1:1");
    assert_refused(&run(&deployment, &["run", "--drain"]), 1, &["127.0.0.1:1", "kafka.brokers"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named() {
    let deployment = Deployment::new(1).await;
    let output = run(&deployment, &["run", "--drain", "--set", "kafka.topics=no.such.topic"]);
    assert_refused(&output, 1, &["no.such.topic", "create"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_the_migrations_names_the_command_that_applies_them() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_POSTGRES__SCHEMA", "elsewhere");
    let output = run(&deployment, &["run", "--drain", "--set", "postgres.migrate=false"]);
    assert_refused(&output, 1, &["elsewhere", "sessionfold migrate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_without_the_password() {
    let mut deployment = Deployment::new(1).await;
    let url = deployment.settings.iter().find(|(name, _)| name == "SESSIONFOLD_POSTGRES__URL").unwrap().1.clone();
    let (_, host) = url.rsplit_once('@').unwrap();
    deployment.set("SESSIONFOLD_POSTGRES__URL", &format!("postgres://sessionfold:hunter2@{host}"));
    assert_refused(&run(&deployment, &["run", "--drain"]), 1, &["password", "postgres.url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_is_told_at_once() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_POSTGRES__URL", "postgres://sessionfold:hunter2@127.0.0.1:1/none");
    assert_refused(&run(&deployment, &["run", "--drain"]), 1, &["postgres.url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_for_each_part_how_it_is() {
    let deployment = Deployment::new(1).await;
    let good = run(&deployment, &["check"]);
    let text = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.success(), "{text}");
    for part in ["configuration", "broker", "topics", "database", "migrations", "statements"] {
        assert!(text.lines().any(|line| line.starts_with("ok") && line.contains(part)), "{part} in {text}");
    }

    let bad = run(&deployment, &["check", "--set", "kafka.topics=no.such.topic", "--set", "postgres.schema=elsewhere"]);
    let text = String::from_utf8(bad.stdout).unwrap();
    assert_eq!(bad.status.code(), Some(1), "{text}");
    assert!(text.lines().any(|line| line.starts_with("FAILED") && line.contains("no.such.topic")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("FAILED") && line.contains("sessionfold migrate")), "{text}");

    let wrong = run(&deployment, &["check", "--set", "batch.max_events=0"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stdout).unwrap().contains("batch.max_events"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effective_configuration_is_printed_without_the_password() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_POSTGRES__URL", "postgres://sessionfold:hunter2@127.0.0.1:1/none");
    let output = run(&deployment, &["config"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.contains("postgres://sessionfold:***@127.0.0.1:1/none"), "{text}");
    assert!(!text.contains("hunter2"));
}
