use super::super::{Secret, client::is_secret};
use super::*;

const URL: &str = "SESSIONFOLD_POSTGRES__URL";
const URL_FILE: &str = "SESSIONFOLD_POSTGRES__URL_FILE";
const PASSWORD: &str = "SESSIONFOLD_KAFKA__CLIENT__SASL_PASSWORD";
const PASSWORD_FILE: &str = "SESSIONFOLD_KAFKA__CLIENT__SASL_PASSWORD_FILE";

/// With these a property for TLS or SASL may stand alone.
const PROTOCOL: (&str, &str) = ("SESSIONFOLD_KAFKA__CLIENT__SECURITY_PROTOCOL", "SASL_SSL");
const MECHANISM: (&str, &str) = ("SESSIONFOLD_KAFKA__CLIENT__SASL_MECHANISM", "OAUTHBEARER");
const UNSIGNED: (&str, &str) = ("SESSIONFOLD_KAFKA__CLIENT__ENABLE_SASL_OAUTHBEARER_UNSECURE_JWT", "true");

fn url(config: &Config) -> &str {
    config.postgres.url.expose()
}

#[test]
fn a_secret_prints_as_stars() {
    let secret = Secret::from("hunter2".to_owned());
    assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    assert_eq!(secret.expose(), "hunter2");
}

#[test]
fn a_secret_may_stand_in_a_file_whose_last_line_break_is_not_part_of_it() {
    let file = TempFile::holding("postgres://u:hunter2@h/d\r\n");
    let toml = format!("[postgres]\nurl_file = {:?}\n", file.path());
    for loaded in [
        from_environment(URL_FILE, file.path()),
        from_flag(&format!("postgres.url_file={}", file.path())),
        from_file(&toml),
    ] {
        assert_eq!(url(&loaded.unwrap()), "postgres://u:hunter2@h/d");
    }
}

#[test]
fn a_property_that_is_a_secret_may_stand_in_a_file() {
    let file = TempFile::holding("hunter2\n");
    for property in
        ["sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem", "sasl.oauthbearer.config"]
    {
        let variable = format!("SESSIONFOLD_KAFKA__CLIENT__{}_FILE", property.replace('.', "_").to_uppercase());
        let toml = TempFile::holding(&format!("[kafka.client]\n{property}_file = {:?}", file.path()));
        for loaded in [
            load(None, &[PROTOCOL, MECHANISM, UNSIGNED, (&variable, file.path())], &[]),
            load(None, &[PROTOCOL, MECHANISM, UNSIGNED], &[&format!("kafka.client.{property}_file={}", file.path())]),
            load(Some(&toml), &[PROTOCOL, MECHANISM, UNSIGNED], &[]),
        ] {
            let config = loaded.unwrap();
            assert_eq!(config.kafka.client[property].expose(), "hunter2");
            assert!(!format!("{config:?}{}", config.render()).contains("hunter2"));
        }
    }
}

#[test]
fn value_and_file_in_one_layer_are_an_error() {
    let toml = "[postgres]\nurl = \"postgres://u:hunter2@h/d\"\nurl_file = \"f\"\n";
    for loaded in [
        load(None, &[(URL, "postgres://u:hunter2@h/d"), (URL_FILE, "f")], &[]),
        load(None, &[], &["postgres.url=postgres://u:hunter2@h/d", "postgres.url_file=f"]),
        from_file(toml),
    ] {
        let message = message(loaded);
        let expected = "postgres.url: is given both as value and as file; allowed: one of them";
        assert!(message.starts_with(expected), "{message}");
        assert!(!message.contains("hunter2"));
    }
    let both = load(None, &[(PASSWORD, "hunter2"), (PASSWORD_FILE, "f")], &[]);
    assert!(message(both).starts_with("kafka.client.sasl.password: is given both"));
}

#[test]
fn a_higher_layers_file_beats_a_lower_layers_value_and_the_other_way_round() {
    let secret = TempFile::holding("postgres://file/d\n");
    let toml = TempFile::holding("[postgres]\nurl = \"postgres://toml/d\"\n");
    let config = load(Some(&toml), &[(URL_FILE, secret.path())], &[]).unwrap();
    assert_eq!(url(&config), "postgres://file/d");

    // The file that lost isn't even read.
    let toml = TempFile::holding("[postgres]\nurl_file = \"no/such/file\"\n");
    let config = load(Some(&toml), &[(URL, "postgres://environment/d")], &[]).unwrap();
    assert_eq!(url(&config), "postgres://environment/d");
}

#[test]
fn a_secrets_file_that_is_missing_or_empty_is_an_error_without_its_path() {
    // Somebody puts the secret where its path belongs.
    let message_of = |path: &str| message(from_environment(URL_FILE, path));
    let missing = message_of("postgres://u:hunter2@h/d");
    assert!(missing.starts_with("postgres.url: cannot read the file that holds it: "));
    assert!(missing.ends_with("(from environment variable SESSIONFOLD_POSTGRES__URL_FILE)"));
    assert!(!missing.contains("hunter2"), "{missing}");
    let empty = message_of(TempFile::holding("\n").path());
    assert!(empty.starts_with("postgres.url: the file that holds it is empty"), "{empty}");
}

#[test]
fn no_secret_shows_in_debug_or_in_the_rendered_configuration() {
    let config = load(
        None,
        &[
            (URL, "postgres://u:hunter2@h/d?password=hunter2"),
            PROTOCOL,
            MECHANISM,
            UNSIGNED,
            (PASSWORD, "hunter2"),
            ("SESSIONFOLD_KAFKA__CLIENT__SSL_KEY_PEM", "hunter2"),
            ("SESSIONFOLD_KAFKA__CLIENT__SASL_OAUTHBEARER_CONFIG", "hunter2"),
            ("SESSIONFOLD_KAFKA__CLIENT__SSL_KEYSTORE_PASSWORD", "hunter2"),
        ],
        &["kafka.client.ssl.key.password=hunter2"],
    )
    .unwrap();
    assert_eq!(config.kafka.client.len(), 8);
    assert_eq!(config.kafka.client["sasl.password"].expose(), "hunter2");
    for text in [format!("{config:?}"), format!("{config:#?}"), config.render()] {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("***"));
    }
}

#[test]
fn whether_a_property_is_a_secret_shows_in_its_name_also_where_librdkafka_does_not_have_it() {
    for secret in ["sasl.oauthbearer.client.secret", "private.key.passphrase", "some.new.secret.word", "ssl.key.pem"] {
        assert!(is_secret(secret), "{secret}");
        let message = message(from_flag(&format!("kafka.client.{secret}=hunter2")));
        assert!(!message.contains("hunter2"), "{message}");
    }
    assert!(!is_secret("security.protocol") && !is_secret("secrets"));
}

#[test]
fn a_token_lets_others_reach_the_listener_and_never_shows() {
    let file = TempFile::holding("hunter2hunter2hunter2\n");
    let listen = ("SESSIONFOLD_HTTP__LISTEN", "0.0.0.0:8080");
    for token in [("SESSIONFOLD_HTTP__TOKEN", "hunter2hunter2hunter2"), ("SESSIONFOLD_HTTP__TOKEN_FILE", file.path())] {
        let config = load(None, &[listen, token], &[]).unwrap();
        assert_eq!(config.http.token.as_ref().map(Secret::expose), Some("hunter2hunter2hunter2"));
        assert!(!format!("{config:?}{}", config.render()).contains("hunter2"));
    }
    let without = message(load(None, &[listen], &[]));
    assert!(without.starts_with("http.listen: ") && without.contains("http.token_file"), "{without}");
    let short = message(load(None, &[listen, ("SESSIONFOLD_HTTP__TOKEN", "hunter2")], &[]));
    assert!(short.starts_with("http.token: is too short; ") && !short.contains("hunter2"), "{short}");
}

#[test]
fn no_secret_shows_in_an_error() {
    let broken = [
        "[postgres]\nurl = \"postgres://u:hunter2@h/d\n",
        "[postgres]\nurl = hunter2\n",
        "[postgres]\nhunter2\n",
        "[postgres]\nurl = \"hunter2\"\nurl = \"hunter2\"\n",
        "[postgres]\nurl = \"hunter2\"\n",
        "[postgres]\nurl = [\"hunter2\"]\n",
        "[postgres]\n\"postgres://u:hunter2@h/d\" = 1\n",
        "[kafka.client]\nsasl.password = [\"hunter2\"]\n",
        "[kafka.client]\n\"sasl.password: hunter2\" = 1\n",
    ];
    for text in broken {
        let message = message(from_file(text));
        assert!(!message.contains("hunter2"), "{message}");
    }
    for flag in [
        "postgres.url:postgres://u:hunter2@h/d?sslmode=require",
        "postgres.url=hunter2",
        "postgres.urls=hunter2",
        "kafka.client.sasl password=hunter2",
    ] {
        let message = message(from_flag(flag));
        assert!(!message.contains("hunter2"), "{message}");
    }
}
