use super::*;

/// The properties, as a file with the section `[kafka.client]`.
fn client(properties: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let lines = properties.iter().map(|(name, value)| format!("{name} = {value:?}\n"));
    from_file(&format!("[kafka.client]\n{}", lines.collect::<String>()))
}

const SCRAM: (&str, &str) = ("sasl.mechanism", "SCRAM-SHA-512");
const USERNAME: (&str, &str) = ("sasl.username", "me");
const PASSWORD: (&str, &str) = ("sasl.password", "hunter2");
const SASL_SSL: (&str, &str) = ("security.protocol", "SASL_SSL");

#[test]
fn whole_sets_are_accepted() {
    let file = TempFile::holding("");
    for properties in [
        &[][..],
        &[("security.protocol", "plaintext")],
        &[("security.protocol", "ssl"), ("ssl.ca.location", file.path())],
        &[("security.protocol", "SSL"), ("ssl.ca.location", "probe")],
        &[SASL_SSL, SCRAM, USERNAME, PASSWORD],
        &[SASL_SSL, ("sasl.mechanisms", "PLAIN"), USERNAME, PASSWORD, ("ssl.ca.location", file.path())],
        &[("security.protocol", "sasl_plaintext"), SCRAM, USERNAME, ("sasl.password_file", "Cargo.toml")],
        &[SASL_SSL, ("sasl.mechanism", "OAUTHBEARER"), ("enable.sasl.oauthbearer.unsecure.jwt", "true")],
    ] {
        client(properties).unwrap();
    }
}

#[test]
fn half_a_set_is_refused_and_the_missing_half_named() {
    for (properties, says) in [
        (&[SASL_SSL][..], ["security.protocol: asks for SASL", "kafka.client.sasl.mechanism is not set"]),
        (&[SASL_SSL, USERNAME, PASSWORD], ["security.protocol: asks for SASL", "sasl.mechanism is not set"]),
        (&[SASL_SSL, SCRAM], ["sasl.mechanism: needs", "kafka.client.sasl.username"]),
        (&[SASL_SSL, SCRAM, PASSWORD], ["sasl.mechanism: needs", "kafka.client.sasl.username, which is not set"]),
        (&[SASL_SSL, SCRAM, USERNAME], ["sasl.mechanism: needs", "kafka.client.sasl.password, which is not set"]),
        (&[SASL_SSL, SCRAM, USERNAME, ("sasl.password", "")], ["needs", "kafka.client.sasl.password"]),
        (&[PASSWORD], ["sasl.password: has no effect without SASL", "security.protocol to SASL_SSL"]),
        (&[SCRAM, USERNAME, PASSWORD], ["sasl.mechanism: has no effect", "security.protocol to SASL_SSL"]),
        (&[("security.protocol", "SSL"), PASSWORD], ["sasl.password: has no effect", "sasl.mechanism, or leave"]),
    ] {
        let message = message(client(properties));
        assert!(message.starts_with("kafka.client.") && message.contains("(from file "), "{message}");
        assert!(says.iter().all(|part| message.contains(part)), "{message} should say {says:?}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn properties_of_tls_without_tls_are_refused() {
    let sasl_plaintext = [("security.protocol", "SASL_PLAINTEXT"), SCRAM, USERNAME, PASSWORD];
    for protocol in [&[][..], &[("security.protocol", "PLAINTEXT")], &sasl_plaintext] {
        for property in
            ["ssl.ca.location", "ssl.key.password", "ssl.cipher.suites", "enable.ssl.certificate.verification"]
        {
            let message = message(client(&[protocol, &[(property, "hunter2")]].concat()));
            assert!(message.starts_with(&format!("kafka.client.{property}: has no effect without TLS; ")), "{message}");
            assert!(message.contains("kafka.client.security.protocol to SSL or SASL_SSL"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}

#[test]
fn what_this_build_cannot_speak_is_refused() {
    let protocol = message(client(&[("security.protocol", "TLS")]));
    assert!(protocol.contains("security.protocol: is not a protocol; allowed: PLAINTEXT, SSL,"), "{protocol}");
    // Names of mechanisms are case-sensitive.
    for mechanism in ["GSSAPI", "plain", "SCRAM-SHA-1", ""] {
        let message = message(client(&[SASL_SSL, ("sasl.mechanism", mechanism), USERNAME, PASSWORD]));
        assert!(message.contains("sasl.mechanism: is not a mechanism that is built in; allowed: PLAIN,"), "{message}");
    }
}

#[test]
fn a_mechanism_whose_tokens_nobody_provides_is_refused() {
    let oidc = [SASL_SSL, ("sasl.mechanism", "OAUTHBEARER"), ("sasl.oauthbearer.method", "oidc")];
    let message = message(client(&oidc));
    assert!(message.contains("sasl.mechanism: needs a token, and no provider of tokens is built in;"), "{message}");
    assert!(message.contains("allowed: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"), "{message}");
}

#[test]
fn one_mechanism_under_both_of_its_names_is_refused() {
    let message = message(client(&[SASL_SSL, SCRAM, ("sasl.mechanisms", "PLAIN"), USERNAME, PASSWORD]));
    assert!(message.contains("sasl.mechanisms: is another name of kafka.client.sasl.mechanism"), "{message}");
}

#[test]
fn a_file_that_is_not_there_is_refused_and_its_path_not_shown() {
    for property in ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"] {
        let message = message(client(&[("security.protocol", "SSL"), (property, "no/hunter2")]));
        let expected = format!("kafka.client.{property}: names a file that cannot be read: No such file");
        assert!(message.starts_with(&expected), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn the_layer_of_the_property_at_fault_is_named() {
    let environment = [("SESSIONFOLD_KAFKA__CLIENT__SECURITY_PROTOCOL", "SASL_SSL")];
    let message = message(load(None, &environment, &["kafka.client.sasl.mechanism=PLAIN"]));
    assert!(message.ends_with("(from flag --set)"), "{message}");
}
