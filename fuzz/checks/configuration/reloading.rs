//! What `sessionfold config` prints is a file that says the same, with stars for the secrets.

use sessionfold::config::{ClientValue, Config, Sources};

use super::TemporaryFile;

pub(super) fn check(config: &Config) {
    let rendered = config.render();
    let file = TemporaryFile::holding("rendered.toml", &rendered);
    let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    let reloaded = Config::load(sources).unwrap_or_else(|error| panic!("{error}\n{rendered}"));

    let mut kafka = config.kafka.clone();
    for (property, value) in &mut kafka.client {
        if let (ClientValue::Secret(_), Some(masked @ ClientValue::Secret(_))) =
            (&*value, reloaded.kafka.client.get(property))
        {
            assert_eq!(masked.expose(), "***");
            *value = masked.clone();
        }
    }
    assert_eq!(reloaded.kafka, kafka);

    let mut postgres = config.postgres.clone();
    assert_eq!(reloaded.postgres.url.expose(), postgres.url.to_string(), "the URL is masked, and only that");
    postgres.url = reloaded.postgres.url.clone();
    assert_eq!(reloaded.postgres, postgres);

    assert_eq!(reloaded.aggregator, config.aggregator);
    assert_eq!(reloaded.sweep, config.sweep);
    assert_eq!(reloaded.breaker, config.breaker);
    assert_eq!(reloaded.events, config.events);
    assert_eq!(reloaded.batch, config.batch);
    assert_eq!(reloaded.http, config.http);
    assert_eq!(reloaded.log, config.log);
    assert_eq!(reloaded.shutdown, config.shutdown);
}
