use super::super::client::property_of;
use super::*;

fn client(config: &Config) -> Vec<(&str, &str)> {
    let pairs = config.kafka.client.iter();
    pairs.map(|(name, value)| (name.as_str(), value.expose())).collect()
}

#[test]
fn properties_are_texts_whatever_toml_calls_them_and_dots_are_part_of_the_name() {
    let authority = TempFile::holding("");
    let config = from_file(&format!(
        "[kafka.client]\nsecurity.protocol = \"SSL\"\nsession.timeout.ms = 45000\n\
         enable.ssl.certificate.verification = true\n\"client.id\" = \"quoted\"\n\
         [kafka.client.ssl]\nca.location = {:?}\n",
        authority.path()
    ))
    .unwrap();
    assert_eq!(
        client(&config),
        [
            ("client.id", "quoted"),
            ("enable.ssl.certificate.verification", "true"),
            ("security.protocol", "SSL"),
            ("session.timeout.ms", "45000"),
            ("ssl.ca.location", authority.path()),
        ]
    );
}

#[test]
fn properties_are_neither_lists_nor_fractions() {
    for value in ["[1]", "1.5", "2020-01-01"] {
        let message = message(from_file(&format!("[kafka.client]\na.b = {value}")));
        assert!(message.starts_with("kafka.client.a.b: "), "{message}");
        assert!(message.contains("of the wrong type"), "{message}");
    }
}

/// With it a mechanism that takes tokens may stand alone.
const UNSIGNED: &str = "kafka.client.enable.sasl.oauthbearer.unsecure.jwt=true";

#[test]
fn in_the_environment_every_underscore_is_a_dot() {
    let config = load(
        None,
        &[
            ("SESSIONFOLD_KAFKA__CLIENT__SECURITY_PROTOCOL", "SASL_SSL"),
            ("SESSIONFOLD_KAFKA__CLIENT__SASL__MECHANISM", "OAUTHBEARER"),
            ("SESSIONFOLD_KAFKA__CLIENT__LOG_LEVEL", "7"),
        ],
        &["kafka.client.client.id=mine", UNSIGNED],
    )
    .unwrap();
    assert_eq!(
        client(&config),
        [
            ("client.id", "mine"),
            ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
            ("log_level", "7"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("security.protocol", "SASL_SSL")
        ]
    );
}

#[test]
fn a_property_that_ends_in_file_and_is_no_secret_stays_what_it_is() {
    let of_its_own = "sasl.oauthbearer.assertion.private.key.file";
    assert_eq!(property_of("SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE"), of_its_own);
    assert_eq!(property_of("SASL_PASSWORD_FILE"), "sasl.password_file");
}

#[test]
fn one_property_under_two_spellings_in_one_layer_is_an_error() {
    let environment = [("SESSIONFOLD_KAFKA__CLIENT__CLIENT_ID", "a"), ("SESSIONFOLD_KAFKA__CLIENT__CLIENT__ID", "b")];
    assert!(message(load(None, &environment, &[])).contains("is given twice"));
    let text = "[kafka.client]\nclient.id = \"a\"\n\"client.id\" = \"b\"\n";
    assert!(message(from_file(text)).contains("kafka.client.client.id: is given twice"));
}

#[test]
fn properties_that_the_program_owns_are_refused_with_the_reason() {
    for (property, reason) in [
        ("bootstrap.servers", "use kafka.brokers"),
        ("metadata.broker.list", "use kafka.brokers"),
        ("group.id", "use kafka.group_id"),
        ("enable.auto.commit", "the checkpoints in Postgres decide"),
        ("auto.commit.enable", "the checkpoints in Postgres decide"),
        ("enable.auto.offset.store", "the checkpoints in Postgres decide"),
        ("auto.offset.reset", "the checkpoints in Postgres decide"),
        ("enable.partition.eof", "leave it out: a partition that is at its end is waited for by nobody"),
        ("acks", "use outbox.acks"),
        ("request.required.acks", "use outbox.acks"),
        ("enable.idempotence", "use outbox.acks"),
        ("plugin.library.paths", "would load a library"),
    ] {
        let variable = property.replace('.', "_").to_uppercase();
        for loaded in [
            from_file(&format!("[kafka.client]\n{property} = \"x\"")),
            from_environment(&format!("SESSIONFOLD_KAFKA__CLIENT__{variable}"), "x"),
            from_flag(&format!("kafka.client.{property}=x")),
        ] {
            let message = message(loaded);
            assert!(message.starts_with(&format!("kafka.client.{property}: ")), "{message}");
            assert!(message.contains(reason), "{message}");
        }
    }
}

#[test]
fn what_librdkafka_does_not_have_or_take_is_refused_with_its_layer_and_without_its_value() {
    for (property, value, problem) in [
        ("session.timeout.mss", "6000", "librdkafka has no such property"),
        ("session.timeout.ms", "soon", "librdkafka refuses its value"),
        ("client.id", "a\0b", "librdkafka refuses its value"),
    ] {
        let message = message(from_flag(&format!("kafka.client.{property}={value}")));
        assert!(message.starts_with(&format!("kafka.client.{property}: {problem}")), "{message}");
        assert!(message.contains("; allowed: what librdkafka's CONFIGURATION.md lists (from "), "{message}");
        assert!(!message.contains(value), "{message}");
    }
}

#[test]
fn what_cannot_be_a_property_is_refused() {
    for flag in ["kafka.client.=x", "kafka.client.a..b=x", "kafka.client.Group.Id=x"] {
        assert!(message(from_flag(flag)).contains("not the name of a librdkafka property"));
    }
}
