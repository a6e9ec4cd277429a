//! Whether everything that a run needs is there: each part asked for once, with what to do where it is not.

use std::time::Duration;

use crate::{
    config::Config,
    store::{MigrationState, Store, StoreError},
    stream::{OutboxProducer, describe_topics},
};

/// What one part was found to be.
#[derive(Debug)]
pub struct Finding {
    pub part: &'static str,
    /// How it is, or what is wrong and what to do about it.
    pub result: Result<String, String>,
}

/// How long the broker may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(8);

/// Asks for each part; one that needs another which isn't there is left out.
///
/// `migrates` says that the run would apply missing migrations itself.
pub async fn preflight(config: &Config, store: &Store, migrates: bool) -> Vec<Finding> {
    let (mut findings, database) = tokio::join!(kafka(config), preflight_database(store, migrates));
    findings.extend(database);
    findings
}

async fn kafka(config: &Config) -> Vec<Finding> {
    let kafka = config.kafka.clone();
    let names: Vec<String> = kafka.topics.iter().chain(&config.outbox.topic).cloned().collect();
    let described = tokio::task::spawn_blocking(move || describe_topics(&kafka, &names, BROKER_TIMEOUT)).await;
    let broker = |result| Finding { part: "broker", result };
    match described {
        Ok(Ok(topics)) => {
            let (read, published) = topics.split_at(config.kafka.topics.len());
            let broker = broker(Ok(format!("{} answers", config.kafka.brokers)));
            let outbox = published.iter().map(|(topic, partitions)| check_outbox(config, topic, *partitions));
            [broker, check_topics(read)].into_iter().chain(outbox).collect()
        }
        Ok(Err(error)) => vec![broker(Err(error.to_string()))],
        Err(panicked) => vec![broker(Err(panicked.to_string()))],
    }
}

fn check_topics(topics: &[(String, Option<usize>)]) -> Finding {
    let missing: Vec<&str> =
        topics.iter().filter(|(_, partitions)| partitions.is_none()).map(|(topic, _)| topic.as_str()).collect();
    let result = if missing.is_empty() {
        let counts: Vec<usize> = topics.iter().filter_map(|(_, partitions)| *partitions).collect();
        let even = counts.windows(2).all(|pair| pair[0] == pair[1]);
        let note = if even {
            ""
        } else {
            "; their numbers of partitions differ, so a session's topics may be read by several instances, which costs \
             retries"
        };
        Ok(format!("{} topics with {} partitions{note}", topics.len(), counts.iter().sum::<usize>()))
    } else {
        Err(format!("missing: {}; create them, or correct kafka.topics", missing.join(", ")))
    };
    Finding { part: "topics", result }
}

fn check_outbox(config: &Config, topic: &str, partitions: Option<usize>) -> Finding {
    let settings = OutboxProducer::new(&config.kafka, topic, config.outbox.acks);
    let result = match (partitions, settings) {
        (_, Err(error)) => Err(error.to_string()),
        (None, _) => Err(format!("topic {topic} doesn't exist; create it, or correct outbox.topic")),
        (Some(count), Ok(_)) => Ok(format!("topic {topic} with {count} partitions, acks {}", config.outbox.acks)),
    };
    Finding { part: "outbox", result }
}

/// The database's part of [`preflight`].
pub async fn preflight_database(store: &Store, migrates: bool) -> Vec<Finding> {
    let connected = store.connect_once().await;
    let result = connected.map_err(|error| format!("{error}; {}", remedy(&error)));
    let mut findings = vec![Finding { part: "database", result }];
    if findings[0].result.is_err() {
        return findings;
    }
    let (migrations, current) = match store.migration_state().await {
        Ok(MigrationState::Current) => (Ok("current".to_owned()), true),
        Ok(MigrationState::Missing(count)) if migrates => (Ok(format!("{count} missing, will be applied")), false),
        Ok(MigrationState::Missing(count)) => {
            (Err(format!("{count} missing in schema {}; run `sessionfold migrate`", store.schema())), false)
        }
        Ok(MigrationState::Newer) => {
            let remedy = "the schema was migrated by a newer version; run that version";
            (Err(remedy.to_owned()), false)
        }
        Err(error) => (Err(format!("{error}; {}", remedy(&error))), false),
    };
    findings.push(Finding { part: "migrations", result: migrations });
    if current {
        let statements = store.check_statements().await;
        let result = statements
            .map(|count| format!("{count} fit the tables"))
            .map_err(|error| format!("{error}; the tables in schema {} are not those of this version", store.schema()));
        findings.push(Finding { part: "statements", result });
    }
    findings
}

/// Words by which the driver and Postgres tell of TLS, and what to do then. Neither has a code for it: Postgres says
/// 28000 of all that `pg_hba.conf` doesn't allow.
const TLS: [(&str, &str); 6] = [
    (
        "invalid peer certificate",
        "in postgres.url, sslrootcert must name the certificate of the authority that signed the server's, and with \
         sslmode=verify-full the host must be a name that the server's certificate has",
    ),
    (
        "server does not support TLS",
        "switch TLS on in Postgres (ssl = on); where the network is to be trusted, sslmode=disable in postgres.url goes \
         without",
    ),
    ("no encryption", WANTS_TLS),
    ("SSL off", WANTS_TLS), // Postgres 13 and before
    ("client certificate", CLIENT_CERTIFICATE),
    ("must be given together", CLIENT_CERTIFICATE),
];
const WANTS_TLS: &str = "Postgres lets nobody in without TLS: set sslmode=verify-full and sslrootcert in postgres.url";
const CLIENT_CERTIFICATE: &str = "name a client's certificate and its key in postgres.url, by sslcert and sslkey";

/// What to do about a database that can't be used.
fn remedy(error: &StoreError) -> &'static str {
    let text = error.to_string();
    if let Some((_, remedy)) = TLS.iter().find(|(words, _)| text.contains(words)) {
        return remedy;
    }
    match error.sqlstate.as_deref() {
        Some("28P01" | "28000") => "check the user and the password in postgres.url",
        Some("3D000") => "create the database, or correct its name in postgres.url",
        Some("42501" | "3F000") => "grant the rights that are named, or run `sessionfold migrate` as the tables' owner",
        Some("53300") => "raise max_connections in Postgres, or lower postgres.max_connections",
        Some(_) => "see Postgres's own log",
        None => "check that Postgres runs at the address in postgres.url, and that it may be reached from here",
    }
}
