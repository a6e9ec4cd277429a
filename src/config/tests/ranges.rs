use std::time::Duration;

use super::*;

#[test]
fn durations_are_sums_of_numbers_with_units() {
    for (text, millis) in [
        ("60s", 60_000),
        ("100ms", 100),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1h30m", 5_400_000),
        ("1d1ms", 86_400_001),
    ] {
        let config = from_flag(&format!("aggregator.inactivity_timeout={text}")).unwrap();
        let read = config.aggregator.inactivity_timeout;
        assert_eq!(read, Duration::from_millis(millis), "{text}");
    }
}

#[test]
fn a_bare_number_is_no_duration_and_the_error_says_how_to_write_it() {
    let hint = "60 has no unit; write \"60s\" for seconds, or \"60ms\" for milliseconds";
    for loaded in [
        from_file("[batch]\nmax_wait = 60"),
        from_file("[batch]\nmax_wait = \"60\""),
        from_environment("SESSIONFOLD_BATCH__MAX_WAIT", "60"),
    ] {
        let message = message(loaded);
        assert!(message.starts_with(&format!("batch.max_wait: {hint}")), "{message}");
    }
}

#[test]
fn what_is_not_a_duration_is_refused() {
    for text in ["", "s", "1.5s", "-1s", "1 s", "1s ", "30m1h", "1s1s", "1y", "1s2", "99999999999999999999s"] {
        let message = message(from_flag(&format!("aggregator.reopen_grace={text}")));
        assert!(message.contains("is not a duration; allowed: "), "{message}");
    }
}

#[test]
fn values_on_the_limits_are_accepted() {
    for flag in [
        "postgres.max_connections=1",
        "postgres.max_connections=100",
        "postgres.statement_timeout=24h",
        "postgres.connect_timeout=10m",
        "breaker.failure_threshold=2",
        "breaker.failure_threshold=1000",
        "breaker.open_for=10m",
        "breaker.half_open_successes=5",
        "aggregator.inactivity_timeout=1ms",
        "aggregator.reopen_grace=0s",
        "aggregator.future_tolerance=0s",
        "events.max_value_bytes=1",
        "events.max_value_bytes=104857600",
        "batch.max_events=1",
        "batch.max_events=1000000",
        "batch.max_wait=60s",
        "batch.max_bytes=1024",
        "retention.sessions=forever",
        "retention.sessions=1ms",
        "retention.transitions=3650d",
        "retention.interval=24h",
        "retention.batch=10000",
        "outbox.topic=",
        "outbox.topic=a.topic",
        "outbox.acks=all",
        "outbox.acks=1",
        "outbox.acks=0",
        "outbox.interval=1h",
        "outbox.batch=10000",
        "outbox.max_attempts=1000",
        "shutdown.timeout=1m",
        "http.listen=127.0.0.1:0",
        "http.listen=[::1]:8080",
        "http.listen=",
        "http.listen=8080",
        "http.token=",
        "http.token=0123456789abcdefABCDEF-._~+/=",
        "http.max_requests=1000",
        "http.timeout=100ms",
        "health.stalled_after=1h",
        "mcp.max_tools=1",
        "mcp.timeout=5m",
        "mcp.max_calls=32",
        "mcp.allowed_hosts=sessions.example.com,sessions",
        "mcp.allowed_origins=https://app.example.com:443,http://localhost:*,null",
        "health.interval=100ms",
        "health.interval=24h",
        "health.timeout=100ms",
        "health.timeout=10m",
        "kafka.brokers=a:1, b.example:65535,[::1]:9092",
    ] {
        if let Err(error) = from_flag(flag) {
            panic!("{flag}: {error}");
        }
    }
}

#[test]
fn values_beyond_the_limits_are_refused() {
    for flag in [
        "postgres.max_connections=0",
        "postgres.max_connections=101",
        "postgres.max_connections=-1",
        "postgres.statement_timeout=0s",
        "postgres.statement_timeout=25h",
        "postgres.connect_timeout=0s",
        "postgres.connect_timeout=11m",
        "breaker.failure_threshold=0",
        "breaker.failure_threshold=1001",
        "breaker.open_for=0s",
        "breaker.open_for=11m",
        "breaker.half_open_successes=0",
        "aggregator.inactivity_timeout=0s",
        "aggregator.reopen_grace=3651d",
        "events.max_value_bytes=0",
        "events.max_value_bytes=104857601",
        "batch.max_events=0",
        "batch.max_events=1000001",
        "batch.max_wait=0s",
        "batch.max_wait=61s",
        "batch.max_bytes=1023",
        "retention.sessions=0s",
        "retention.dead_letters=3651d",
        "retention.interval=0s",
        "retention.batch=10001",
        "outbox.interval=0s",
        "outbox.batch=10001",
        "outbox.max_attempts=0",
        "shutdown.timeout=0s",
        "shutdown.timeout=61s",
        "mcp.max_tools=0",
        "mcp.max_tools=101",
        "mcp.timeout=99ms",
        "mcp.timeout=301s",
        "mcp.max_calls=33",
    ] {
        let message = message(from_flag(flag));
        assert!(message.contains(" is out of range; allowed: "), "{message}");
    }
}

#[test]
fn texts_that_mean_nothing_are_refused() {
    for flag in [
        "kafka.brokers=",
        "kafka.brokers=localhost",
        "kafka.brokers=localhost:0",
        "kafka.brokers=localhost:70000",
        "kafka.brokers=a:1,",
        "kafka.brokers=::1:9092",
        "kafka.group_id= ",
        "kafka.topics=",
        "kafka.topics=a,,b",
        "kafka.topics=a,a",
        "kafka.topics=^dev.*",
        "outbox.topic=^dev.*",
        "outbox.topic= ",
        "outbox.topic=dev.omniclaude.session.ended.v1",
        "outbox.acks=-1",
        "outbox.acks=2",
        "outbox.acks=",
        "events.ignore=a,a",
        "http.listen=65536",
        "http.listen=localhost:8080",
        "http.listen=0.0.0.0:8080",
        "http.listen=[::]:8080",
        "http.listen=192.0.2.1:8080",
        "http.token=0123456789abcde",
        "http.token=0123456789abcdef ",
        "http.max_requests=0",
        "http.timeout=61s",
        "health.stalled_after=999ms",
        "mcp.allowed_hosts=sessions.example.com:443",
        "mcp.allowed_origins=https://app.example.com",
        "mcp.allowed_origins=*",
        "log.format=xml",
        "log.filter=",
        "aggregator.kind=other",
        "retention.open_dead_letters=never",
    ] {
        let (key, _) = flag.split_once('=').unwrap();
        let message = message(from_flag(flag));
        assert!(message.starts_with(&format!("{key}: ")), "{message}");
        assert!(message.contains("; allowed: "), "{message}");
        assert!(message.ends_with(" (from flag --set)"), "{message}");
    }
}

#[test]
fn brokers_are_kept_without_spaces() {
    let config = from_flag("kafka.brokers=a:1, b:2").unwrap();
    assert_eq!(config.kafka.brokers, "a:1,b:2");
}

#[test]
fn an_aggregator_that_is_none_is_refused_with_those_that_are() {
    assert_eq!(
        message(from_flag("aggregator.kind=Reference")),
        "aggregator.kind: \"Reference\" is not an aggregator; allowed: \"convergent\", \"reference\" (from flag --set)"
    );
}

#[test]
fn the_kinds_that_make_sessions_cannot_be_ignored() {
    for kind in ["hook.session.started", "hook.session.ended", "hook.prompt.submitted", "hook.tool.executed"] {
        let message = message(from_flag(&format!("events.ignore=other,{kind}")));
        assert!(message.contains("cannot be ignored; allowed: any kind but "), "{message}");
    }
}

#[test]
fn a_schema_name_needs_no_escaping() {
    for name in ["a", "_a", "a1_b", "user", &"a".repeat(63)] {
        let config = from_flag(&format!("postgres.schema={name}")).unwrap();
        assert_eq!(config.postgres.schema.to_string(), name);
        assert_eq!(config.postgres.schema.quoted(), format!("\"{name}\""));
    }
    for name in ["", "1a", "A", "a-b", "a b", "a\"b", "ä", "pg_a", "information_schema", &"a".repeat(64)] {
        let message = message(from_flag(&format!("postgres.schema={name}")));
        assert!(message.contains("cannot be the schema's name; allowed: "), "{message}");
    }
}

#[test]
fn the_breaker_is_not_harder_to_close_than_to_open() {
    let message = message(from_flag("breaker.half_open_successes=6"));
    assert!(
        message.contains("breaker.half_open_successes: 6 is more than breaker.failure_threshold, which is 5"),
        "{message}"
    );
    let both = "[breaker]\nfailure_threshold = 9\nhalf_open_successes = 6";
    assert_eq!(from_file(both).unwrap().breaker.half_open_successes.get(), 6);
}

#[test]
fn a_threshold_below_the_default_of_successes_is_refused_with_both_keys() {
    let message = message(from_flag("breaker.failure_threshold=1"));
    assert!(
        message.starts_with(
            "breaker.half_open_successes: 2 is more than breaker.failure_threshold, which is 1; allowed: 1"
        ),
        "{message}"
    );
}
