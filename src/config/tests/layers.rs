use std::time::Duration;

use super::super::{AggregatorKind, LogFormat};
use super::*;

#[test]
fn without_any_source_the_defaults_hold() {
    let config = load(None, &[], &[]).unwrap();
    assert_eq!(config.kafka.brokers, "127.0.0.1:9092");
    assert_eq!(config.kafka.group_id, "sessionfold");
    assert_eq!(
        config.kafka.topics,
        [
            "dev.omniclaude.session.started.v1",
            "dev.omniclaude.session.ended.v1",
            "dev.omniclaude.prompt.submitted.v1",
            "dev.omniclaude.tool.executed.v1",
        ]
    );
    assert!(config.kafka.client.is_empty());
    assert_eq!(config.postgres.url.expose(), "postgres://sessionfold@127.0.0.1:5432/sessionfold");
    assert_eq!(config.postgres.schema.as_str(), "sessionfold");
    assert!(config.postgres.migrate);
    assert_eq!(config.postgres.max_connections.get(), 4);
    assert_eq!(config.postgres.statement_timeout, Duration::from_secs(30));
    assert_eq!(config.postgres.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.aggregator.kind, AggregatorKind::Convergent);
    assert_eq!(config.aggregator.inactivity_timeout, Duration::from_secs(3600));
    assert_eq!(config.aggregator.reopen_grace, Duration::from_secs(60));
    assert_eq!(config.aggregator.future_tolerance, Duration::from_secs(30));
    assert_eq!(config.events.max_value_bytes.get(), 1_048_576);
    assert!(config.events.ignore.is_empty());
    assert_eq!(config.batch.max_events.get(), 48_000);
    assert_eq!(config.batch.max_wait, Duration::from_millis(5));
    assert_eq!(config.batch.max_bytes.get(), 33_554_432);
    assert_eq!((config.http.listen, &config.http.token), (None, &None));
    assert_eq!((config.health.interval, config.health.timeout), (Duration::from_secs(300), Duration::from_secs(30)));
    assert!(config.health.endpoints.is_empty() && config.warnings().is_empty());
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.log.filter, "info");
    assert_eq!(config.shutdown.timeout, Duration::from_secs(5));
}

#[test]
fn each_layer_beats_the_one_below_it() {
    let file = TempFile::holding("[batch]\nmax_events = 1\nmax_bytes = 2000\nmax_wait = \"1s\"\n");
    let environment = [("SESSIONFOLD_BATCH__MAX_EVENTS", "2"), ("SESSIONFOLD_BATCH__MAX_BYTES", "3000")];
    let config = load(Some(&file), &environment, &["batch.max_events=3"]).unwrap();
    assert_eq!(config.batch.max_events.get(), 3);
    assert_eq!(config.batch.max_bytes.get(), 3000);
    assert_eq!(config.batch.max_wait, Duration::from_secs(1));
}

#[test]
fn a_bad_value_that_a_higher_layer_replaces_does_no_harm() {
    let file = TempFile::holding("[batch]\nmax_events = 0\n");
    let config = load(Some(&file), &[], &["batch.max_events=3"]).unwrap();
    assert_eq!(config.batch.max_events.get(), 3);
}

#[test]
fn texts_from_the_environment_take_the_type_of_the_default() {
    let config = load(
        None,
        &[
            ("SESSIONFOLD_BATCH__MAX_EVENTS", "5000"),
            ("SESSIONFOLD_POSTGRES__MIGRATE", "false"),
            ("SESSIONFOLD_KAFKA__TOPICS", "one, two"),
            ("SESSIONFOLD_EVENTS__IGNORE", "hook.other"),
            ("SESSIONFOLD_HTTP__LISTEN", "[::1]:8080"),
            ("SESSIONFOLD_LOG__FORMAT", "json"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.batch.max_events.get(), 5000);
    assert!(!config.postgres.migrate);
    assert_eq!(config.kafka.topics, ["one", "two"]);
    assert!(config.events.ignore.contains("hook.other"));
    assert_eq!(config.http.listen, Some("[::1]:8080".parse().unwrap()));
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn of_two_equal_flags_the_later_wins_and_a_value_may_have_equals_signs() {
    let flags = ["log.filter=info", "log.filter=info,sessionfold=debug"];
    let config = load(None, &[], &flags).unwrap();
    assert_eq!(config.log.filter, "info,sessionfold=debug");
}

#[test]
fn a_list_in_a_flag_is_separated_by_commas_and_an_empty_one_is_empty() {
    let config = from_flag("events.ignore=a,b").unwrap();
    assert_eq!(config.events.ignore.len(), 2);
    assert!(from_flag("events.ignore=").unwrap().events.ignore.is_empty());
}

#[test]
fn the_environment_names_the_file_unless_the_program_does() {
    let named = TempFile::holding("[batch]\nmax_events = 7\n");
    let other = TempFile::holding("[batch]\nmax_events = 8\n");
    let environment = [("SESSIONFOLD_CONFIG", named.path())];
    let config = load(None, &environment, &[]).unwrap();
    assert_eq!(config.batch.max_events.get(), 7);
    let config = load(Some(&other), &environment, &[]).unwrap();
    assert_eq!(config.batch.max_events.get(), 8);
    assert!(from_environment("SESSIONFOLD_CONFIG", "").is_ok());
}

#[test]
fn variables_of_tools_tests_and_others_are_passed_over() {
    for name in [
        "SESSIONFOLD_DEV_KAFKA__PORT",
        "SESSIONFOLD_TEST_POSTGRES__URL",
        "SESSIONFOLD_PORT",
        "SESSIONFOLD_SERVICE_HOST",
        "SESSIONFOLDER_A__B",
        "HOME",
    ] {
        assert!(from_environment(name, "x").is_ok(), "{name}");
    }
}
