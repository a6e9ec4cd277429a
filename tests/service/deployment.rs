//! What one test has for itself: a database, four topics, a consumer group.

use std::time::Duration;

use sessionfold::{
    config::{Config, Sources},
    event::EventKind,
    fold::{Aggregators, Convergent},
    generate::GeneratedRecord,
    pipeline::Totals,
    service::{Service, convergent, open_store},
    store::Store,
    stream::{Outgoing, Producer, Until, create_topics},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

/// Values larger than this are bad in these tests, so that a large one needn't be sent.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;

/// In the order in which [`Deployment::topic`] names them.
const KINDS: [EventKind; 4] = [EventKind::Started, EventKind::Ended, EventKind::Prompt, EventKind::Tool];

#[derive(Clone)]
pub struct Deployment {
    /// Settings as environment variables, for the library and for the program alike.
    pub settings: Vec<(String, String)>,
    pub topics: Vec<String>,
    pub group_id: String,
    /// What [`Deployment::connect`] uses.
    pub url: String,
}

fn from_environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `make test`"))
}

fn brokers() -> String {
    from_environment("SESSIONFOLD_KAFKA__BROKERS")
}

impl Deployment {
    /// A fresh database, migrated, and four fresh topics with this many partitions each.
    pub async fn new(partitions: i32) -> Self {
        Self::at(&brokers(), partitions).await
    }

    /// The same with the topics on these brokers.
    pub async fn at(brokers: &str, partitions: i32) -> Self {
        let deployment = Self::without_topics(brokers).await;
        deployment.create_topics(partitions).await;
        deployment
    }

    /// The same on a Postgres of the test's own, by the URL of one of its databases.
    pub async fn on(server: &str, partitions: i32) -> Self {
        let deployment = Self::between(&brokers(), server).await;
        deployment.create_topics(partitions).await;
        deployment
    }

    pub async fn create_topics(&self, partitions: i32) {
        create_topics(&self.config().kafka, &self.topics, partitions).await.unwrap();
    }

    /// A fresh database, migrated, and the names of four topics that nobody has made.
    pub async fn without_topics(brokers: &str) -> Self {
        Self::between(brokers, &from_environment("SESSIONFOLD_DEV_POSTGRES_URL")).await
    }

    async fn between(brokers: &str, server: &str) -> Self {
        let id = Uuid::now_v7().simple().to_string();
        let database = format!("test_{id}");
        let mut connection = PgConnection::connect(server).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {database}"))).await.unwrap();
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{database}");

        let topics: Vec<String> = KINDS.map(|kind| format!("test.{id}.{}", kind.as_str())).to_vec();
        let group_id = format!("test-{id}");
        let settings = [
            ("SESSIONFOLD_KAFKA__BROKERS", brokers.to_owned()),
            ("SESSIONFOLD_KAFKA__TOPICS", topics.join(",")),
            ("SESSIONFOLD_KAFKA__GROUP_ID", group_id.clone()),
            ("SESSIONFOLD_KAFKA__CLIENT__SESSION_TIMEOUT_MS", "6000".to_owned()),
            ("SESSIONFOLD_KAFKA__CLIENT__HEARTBEAT_INTERVAL_MS", "500".to_owned()),
            ("SESSIONFOLD_POSTGRES__URL", url.clone()),
            ("SESSIONFOLD_EVENTS__MAX_VALUE_BYTES", MAX_VALUE_BYTES.to_string()),
            ("SESSIONFOLD_BATCH__MAX_EVENTS", "2000".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let deployment = Self { settings, topics, group_id, url };
        open_store(&deployment.config()).migrate().await.unwrap();
        deployment
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    pub fn config(&self) -> Config {
        Config::load(Sources { environment: self.settings.clone(), ..Sources::default() }).unwrap()
    }

    /// The configuration of an instance that reads one topic only.
    pub fn config_of_topic(&self, kind: EventKind) -> Config {
        let flags = vec![format!("kafka.topics={}", self.topic(kind))];
        Config::load(Sources { environment: self.settings.clone(), flags, ..Sources::default() }).unwrap()
    }

    pub fn topic(&self, kind: EventKind) -> &str {
        topic_of(&self.topics, kind)
    }

    /// A connection whose search path is the schema of the tables.
    pub async fn connect(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        connection.execute("SET search_path TO sessionfold").await.unwrap();
        connection
    }

    pub async fn send<'a>(&self, records: impl IntoIterator<Item = &'a GeneratedRecord>) {
        self.sender().send(records);
    }

    /// Sends more than once with one connection.
    pub fn sender(&self) -> Sender {
        Sender { producer: Producer::new(&self.config().kafka).unwrap(), topics: self.topics.clone() }
    }

    /// The session's aggregator alone.
    pub fn aggregators(&self) -> Aggregators<Convergent> {
        Aggregators::new(convergent(&self.config()))
    }

    /// A drain in this process that has joined the group.
    pub fn begin_to_drain(&self) -> Service<Convergent> {
        let config = self.config();
        Service::start(&config, open_store(&config), self.aggregators(), Until::Drained).unwrap()
    }

    /// Drains everything, in this process.
    pub async fn drain(&self) -> Totals {
        drain(&self.config()).await
    }
}

fn topic_of(topics: &[String], kind: EventKind) -> &str {
    let index = KINDS.iter().position(|known| *known == kind).unwrap();
    &topics[index]
}

/// Sends records to the topics of their kinds.
pub struct Sender {
    producer: Producer,
    topics: Vec<String>,
}

impl Sender {
    /// Blocks until all are delivered.
    pub fn send<'a>(&self, records: impl IntoIterator<Item = &'a GeneratedRecord>) {
        for record in records {
            let outgoing = Outgoing {
                topic: topic_of(&self.topics, record.kind),
                key: Some(&record.key),
                value: record.value.as_deref(),
                headers: &record.headers,
                timestamp_millis: Some(record.timestamp_millis),
            };
            self.producer.send(outgoing).unwrap();
        }
        self.producer.flush(Duration::from_secs(60)).unwrap();
    }
}

/// Drains with this configuration, in this process.
pub async fn drain(config: &Config) -> Totals {
    drain_into(config, open_store(config)).await
}

/// The same into a store that the test keeps, to ask it for its statistics.
pub async fn drain_into(config: &Config, store: Store) -> Totals {
    let service = Service::start(config, store, Aggregators::new(convergent(config)), Until::Drained).unwrap();
    service.run().await.unwrap()
}
