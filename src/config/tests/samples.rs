use super::super::layers::DEFAULTS;
use super::*;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/example.toml");

/// The lines that set something or open a section, each with the line above it.
fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let line_above = std::iter::once("").chain(text.lines());
    let is_setting = |(_, line): &(&str, &str)| {
        let first = line.chars().next();
        first.is_some_and(|c| c.is_ascii_lowercase())
    };
    line_above.zip(text.lines()).filter(is_setting)
}

#[test]
fn every_key_of_the_defaults_is_explained_above_it() {
    let mut count = 0;
    for (above, line) in settings(DEFAULTS) {
        assert!(above.starts_with("# "), "no comment above: {line}");
        count += 1;
    }
    let keys = super::super::layers::defaults().0;
    let files = 5; // `url_file` is a name of `url`, and so on for each secret.
    assert_eq!(count, keys.names().count() - files);
}

#[test]
fn the_example_is_accepted() {
    // What lies in files there comes from elsewhere here, and the files aren't read then.
    let environment = [
        ("SESSIONFOLD_POSTGRES__URL", "postgres://h/d"),
        ("SESSIONFOLD_KAFKA__CLIENT__SASL_PASSWORD", "x"),
        ("SESSIONFOLD_KAFKA__CLIENT__SSL_CA_LOCATION", EXAMPLE),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config =
        Config::load(Sources { file: Some(EXAMPLE.into()), environment: environment.to_vec(), flags: Vec::new() })
            .unwrap();
    assert_eq!(config.kafka.client["security.protocol"].expose(), "SASL_SSL");
    assert_eq!(config.kafka.client["session.timeout.ms"].expose(), "45000");
    assert_eq!(config.batch.max_events.get(), 100_000);
}

#[test]
fn what_the_example_shows_in_comments_is_accepted_too() {
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let url = text.lines().find_map(|line| line.strip_prefix("# postgres://"));
    let (url, root) = url.unwrap().rsplit_once('=').unwrap();
    assert!(root.ends_with(".pem"));
    let url = format!("postgres://{url}={EXAMPLE}");
    assert!(from_environment("SESSIONFOLD_POSTGRES__URL", &url).is_ok());
    let commented = text.lines().filter_map(|line| line.strip_prefix("# ssl."));
    let commented: Vec<&str> = commented.collect();
    assert_eq!(commented.len(), 3);
    let file = TempFile::holding("hunter2");
    let lines = commented.iter().map(|line| match line.split_once("_file") {
        Some((key, _)) => format!("ssl.{key}_file = {:?}\n", file.path()),
        None => format!("ssl.{} = {:?}\n", line.split(" = ").next().unwrap(), file.path()),
    });
    let text = format!("[kafka.client]\nsecurity.protocol = \"SSL\"\n{}", lines.collect::<String>());
    assert_eq!(from_file(&text).unwrap().kafka.client.len(), 4);
}
