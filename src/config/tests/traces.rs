use super::super::{Share, TracesConfig};
use super::*;

const ENDPOINT: &str = "traces.endpoint=https://collector.example/v1/traces";

fn traces(flags: &[&str]) -> TracesConfig {
    load(None, &[], flags).unwrap().traces
}

/// Names and values as they are sent.
fn sent(config: &TracesConfig) -> Vec<(String, String)> {
    let headers = config.headers.iter();
    headers.map(|header| (header.name.to_string(), header.value.expose().to_owned())).collect()
}

/// In a line that says all of this.
fn assert_refused(loaded: Result<Config, ConfigError>, parts: &[&str]) {
    let message = message(loaded);
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn traces_are_off_until_there_is_an_endpoint() {
    let off = traces(&[]);
    assert_eq!((off.endpoint, off.headers, off.sample), (None, Vec::new(), Share::new(0.01).unwrap()));
    let on = traces(&[ENDPOINT]);
    assert_eq!(on.endpoint.unwrap().target().to_string(), "https://collector.example/v1/traces");
}

#[test]
fn the_endpoint_is_the_whole_url() {
    for base in ["http://h:4318", "http://h:4318/", "http://h:4318/?a=b"] {
        assert_refused(load(None, &[], &[&format!("traces.endpoint={base}")]), &["traces.endpoint", "/v1/traces"]);
    }
    assert_refused(load(None, &[], &["traces.endpoint=h:4318"]), &["traces.endpoint"]);
}

#[test]
fn a_token_headers_and_a_user_in_the_url_are_sent_as_headers_and_nowhere_shown() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let token = TempFile::holding("hunter2\n");
    let environment = [
        ("SESSIONFOLD_TRACES__TOKEN_FILE", token.path()),
        ("SESSIONFOLD_TRACES__HEADERS", "x-team = a, X-Key=hunter2%2Chunter2 ,"),
    ];
    let config = load(None, &environment, &[ENDPOINT]).unwrap();
    let expected = [pair("authorization", "Bearer hunter2"), pair("x-team", "a"), pair("x-key", "hunter2,hunter2")];
    assert_eq!(sent(&config.traces), expected);
    assert!(!format!("{config:?}{}", config.render()).contains("hunter2"));
    let echoed = config.secrets().mask("hunter2 Bearer hunter2 hunter2%2Chunter2 hunter2,hunter2").into_owned();
    assert!(!echoed.contains("hunter2"), "{echoed}");

    let config = load(None, &[], &["traces.endpoint=http://jo:hunter2@h:4318/v1/traces?key=hunter2"]).unwrap();
    assert_eq!(sent(&config.traces), [pair("authorization", "Basic am86aHVudGVyMg==")]);
    assert!(config.render().contains("endpoint = \"http://***@h:4318/v1/traces?***\""));
    assert!(!format!("{config:?}{}", config.render()).contains("hunter2"));

    let config = load(None, &[], &["traces.headers=authorization=Api%20hunter2"]).unwrap();
    assert_eq!(sent(&config.traces), [pair("authorization", "Api hunter2")]);
    assert_eq!(config.secrets().mask("it was hunter2"), "it was ***");
}

#[test]
fn headers_that_cannot_be_sent_are_refused_without_a_word_of_their_values() {
    for (headers, problem) in [
        ("hunter2hunter2", "without a ="),
        ("hunter2 x=a", "not the name of a header"),
        ("hunter2=", "whose value no header can have"),
        ("x-key=hunter2%0Ahunter2", "whose value no header can have"),
        ("hunter2=a,HUNTER2=b", "a header twice"),
        ("host=hunter2", "host, which the program sets"),
    ] {
        let refused = load(None, &[], &[&format!("traces.headers={headers}")]).unwrap_err().to_string();
        assert!(refused.contains(problem) && !refused.contains("hunter2"), "{refused}");
    }
    assert_refused(load(None, &[], &["traces.token=hunter2", "traces.headers=authorization=x"]), &["twice"]);
    let both = ["traces.token=hunter2", "traces.endpoint=http://u:p@h/v1/traces"];
    assert_refused(load(None, &[], &both), &["traces.token", "one of them"]);
    assert_refused(load(None, &[], &["traces.token=a b"]), &["traces.token"]);
}

#[test]
fn the_share_is_a_number_from_0_to_1_in_each_layer() {
    for (text, share) in [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("1e-6", 1e-6)] {
        let file = TempFile::holding(&format!("[traces]\nsample = {text}\n"));
        let environment = [("SESSIONFOLD_TRACES__SAMPLE", text)];
        for config in [load(Some(&file), &[], &[]), load(None, &environment, &[])] {
            let config = config.unwrap();
            assert_eq!(config.traces.sample.get(), share);
            assert_eq!(from_file(&config.render()).unwrap().traces, config.traces);
        }
    }
    for text in ["-0.1", "1.1", "NaN", "inf", "all", ""] {
        assert_refused(load(None, &[], &[&format!("traces.sample={text}")]), &["traces.sample"]);
    }
    assert_refused(from_file("[traces]\nsample = \"0.5\"\n"), &["traces.sample", "a number"]);
    assert_refused(load(None, &[], &["traces.service_name= "]), &["traces.service_name"]);
}

#[test]
fn a_secret_that_goes_over_a_network_in_the_clear_is_noticed() {
    let shows = |endpoint: &str, flags: &[&str]| {
        let endpoint = format!("traces.endpoint={endpoint}/v1/traces");
        let flags: Vec<&str> = flags.iter().copied().chain([endpoint.as_str()]).collect();
        traces(&flags).shows_secrets()
    };
    let token = ["traces.token=hunter2"];
    assert!(shows("http://collector:4318", &token) && shows("http://u:p@10.0.0.1", &[]));
    for here in ["http://localhost:4318", "http://127.0.0.1", "http://[::1]:4318", "https://collector"] {
        assert!(!shows(here, &token), "{here}");
    }
    assert!(!shows("http://collector:4318", &[]));
}
