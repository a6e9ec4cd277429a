use super::*;

#[test]
fn an_unknown_key_in_the_file_is_an_error_with_the_nearest_known_key() {
    let file = TempFile::holding("[batch]\nmax_event = 1\n");
    assert_eq!(
        message(load(Some(&file), &[], &[])),
        format!("batch.max_event: unknown key; did you mean `batch.max_events`? (from file {})", file.path())
    );
}

#[test]
fn an_unknown_variable_is_an_error_with_the_nearest_known_variable() {
    assert_eq!(
        message(from_environment("SESSIONFOLD_POSTGRES__SCHEMAS", "x")),
        "postgres.schemas: unknown key; did you mean `SESSIONFOLD_POSTGRES__SCHEMA`? \
         (from environment variable SESSIONFOLD_POSTGRES__SCHEMAS)"
    );
}

#[test]
fn an_unknown_flag_is_an_error_with_the_nearest_known_key() {
    assert_eq!(
        message(from_flag("htp.listen=127.0.0.1:1")),
        "htp.listen: unknown key; did you mean `http.listen`? (from flag --set)"
    );
}

#[test]
fn a_known_key_in_the_wrong_section_is_led_to_the_right_one() {
    assert!(message(from_file("max_wait = \"1s\"")).contains("did you mean `batch.max_wait`?"));
}

#[test]
fn a_key_like_no_other_is_led_to_the_list() {
    let message = message(from_file("[frobnicate]\nx = 1\n"));
    assert!(message.starts_with("frobnicate: unknown key; `sessionfold config` lists"));
}

#[test]
fn unknown_sections_are_errors_even_when_empty() {
    assert!(message(from_file("[kafk]\n")).starts_with("kafk: unknown key"));
    assert!(message(from_file("[batch.more]\n")).starts_with("batch.more: unknown key"));
}

#[test]
fn a_variable_with_single_underscores_is_led_to_the_right_name() {
    for name in ["SESSIONFOLD_POSTGRES_URL", "SESSIONFOLD_POSTGRES__URL_", "SESSIONFOLD_postgres__url"] {
        let message = message(from_environment(name, "postgres://u:hunter2@h/d"));
        assert!(message.contains("did you mean `SESSIONFOLD_POSTGRES__URL`?"), "{message}");
    }
    let name = "SESSIONFOLD_KAFKA_CLIENT__SASL_PASSWORD";
    let message = message(from_environment(name, "x"));
    assert!(message.contains("did you mean `SESSIONFOLD_KAFKA__CLIENT__…`?"), "{message}");
}

#[test]
fn only_secrets_have_a_file_form() {
    assert!(message(from_file("[kafka]\nbrokers_file = \"x\"\n")).contains("unknown key"));
    assert!(message(from_environment("SESSIONFOLD_LOG__FILTER_FILE", "x")).contains("unknown key"));
}

#[test]
fn a_section_cannot_be_a_value_nor_a_value_a_section() {
    assert!(message(from_file("batch = 5")).starts_with("batch: is a section, not a value"));
    assert!(message(from_file("[kafka]\nclient = \"x\"")).starts_with("kafka.client: is a section"));
    let message = message(from_file("[kafka.brokers]\n"));
    assert!(message.starts_with("kafka.brokers: table is of the wrong type"), "{message}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    for text in [
        "[batch]\nmax_events = \"5000\"",
        "[batch]\nmax_events = 1.5",
        "[postgres]\nmigrate = \"yes\"",
        "[kafka]\ngroup_id = 5",
        "[kafka]\ntopics = \"one,two\"",
        "[kafka]\ntopics = [1]",
        "[postgres]\nurl = 5",
    ] {
        let message = message(from_file(text));
        assert!(message.contains("of the wrong type; allowed: "), "{message}");
    }
    assert_eq!(
        message(from_environment("SESSIONFOLD_BATCH__MAX_EVENTS", "many")),
        "batch.max_events: \"many\" is of the wrong type; allowed: a whole number \
         (from environment variable SESSIONFOLD_BATCH__MAX_EVENTS)"
    );
    assert!(message(from_flag("postgres.migrate=1")).contains("allowed: true or false"));
}

#[test]
fn a_value_out_of_range_names_the_layer_that_gave_it() {
    let file = TempFile::holding("[batch]\nmax_events = 5\nmax_bytes = 5\n");
    assert_eq!(
        message(load(Some(&file), &[("SESSIONFOLD_BATCH__MAX_EVENTS", "0")], &[])),
        "batch.max_events: 0 is out of range; allowed: 1 to 1000000 \
         (from environment variable SESSIONFOLD_BATCH__MAX_EVENTS)"
    );
    assert_eq!(
        message(load(Some(&file), &[], &[])),
        format!("batch.max_bytes: 5 is out of range; allowed: 1024 or more (from file {})", file.path())
    );
}

#[test]
fn a_flag_without_an_equals_sign_is_refused_and_not_shown() {
    let message = message(from_flag("postgres://u:hunter2@h/d"));
    assert_eq!(message, "--set: no `=` in its value; allowed: section.key=value");
}

#[test]
fn a_file_that_is_missing_or_is_not_toml_is_an_error_with_its_place() {
    let missing = Config::load(Sources { file: Some("no/such/sessionfold.toml".into()), ..Sources::default() });
    let missing = message(missing);
    assert!(missing.starts_with("file no/such/sessionfold.toml: cannot be read: "), "{missing}");
    let broken = message(from_file("[batch]\nmax_events = = 5\n"));
    assert!(broken.contains("not valid TOML in line 2, column 14: "), "{broken}");
}

#[test]
fn the_first_fault_is_the_same_every_time_and_the_only_one_reported() {
    let environment = [("SESSIONFOLD_Z__Z", "1"), ("SESSIONFOLD_A__A", "1")];
    let message = message(load(None, &environment, &[]));
    assert!(message.starts_with("a.a: unknown key"), "{message}");
    assert!(!message.contains("z.z"));
}
