use super::*;

fn assert_same(a: &Config, b: &Config) {
    assert_eq!(a.kafka, b.kafka);
    assert_eq!(a.postgres, b.postgres);
    assert_eq!(a.aggregator, b.aggregator);
    assert_eq!(a.sweep, b.sweep);
    assert_eq!(a.breaker, b.breaker);
    assert_eq!(a.events, b.events);
    assert_eq!(a.batch, b.batch);
    assert_eq!(a.http, b.http);
    assert_eq!(a.health, b.health);
    assert_eq!(a.traces, b.traces);
    assert_eq!(a.log, b.log);
    assert_eq!(a.shutdown, b.shutdown);
}

#[test]
fn the_rendered_defaults_parse_back_to_themselves_and_name_no_origin() {
    let config = load(None, &[], &[]).unwrap();
    let rendered = config.render();
    assert!(!rendered.contains('#'), "{rendered}");
    assert_same(&from_file(&rendered).unwrap(), &config);
}

#[test]
fn every_rendered_value_that_is_not_the_default_names_its_origin() {
    let file = TempFile::holding("[batch]\nmax_events = 5\n[kafka.client]\nclient.id = \"x\"\n");
    let environment = [("SESSIONFOLD_BATCH__MAX_WAIT", "1s")];
    let rendered = load(Some(&file), &environment, &["kafka.topics=a,b"]).unwrap().render();
    for line in [
        format!("max_events = 5 # from file {}", file.path()),
        format!("\"client.id\" = \"x\" # from file {}", file.path()),
        "max_wait = \"1s\" # from environment variable SESSIONFOLD_BATCH__MAX_WAIT".to_owned(),
        "topics = [\"a\", \"b\"] # from flag --set".to_owned(),
        "max_bytes = 33554432".to_owned(),
    ] {
        assert!(rendered.lines().any(|found| found == line), "{line}\n{rendered}");
    }
}

#[test]
fn odd_values_render_to_toml_that_parses_back() {
    let config = load(
        None,
        &[
            ("SESSIONFOLD_KAFKA__GROUP_ID", "a \"b\" # c\nd\\"),
            ("SESSIONFOLD_KAFKA__CLIENT__SECURITY_PROTOCOL", "SSL"),
            ("SESSIONFOLD_KAFKA__CLIENT__SSL_CA_PEM", "-----BEGIN\nabc\n'''\"\"\"\n-----END"),
            ("SESSIONFOLD_KAFKA__CLIENT__SESSION_TIMEOUT_MS", "45000"),
            ("SESSIONFOLD_EVENTS__IGNORE", "hook.a,hook \"b\""),
        ],
        &[],
    )
    .unwrap();
    assert_same(&from_file(&config.render()).unwrap(), &config);
}
