//! What the program needs of others, or is to look after: each asked on a schedule of its own, whatever the others do. A
//! question about them costs nothing: it is answered from the last snapshots.

mod event_stream;
mod http;
mod kafka;
mod mcp;
mod poll;
mod postgres;
mod snapshot;
mod status;

pub use snapshot::{Counted, Snapshot};
pub use status::Status;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{Uri, header::HeaderValue};
use tokio::task::JoinSet;

use crate::config::{Authorization, Config, EndpointConfig, EndpointKind, Secret, Secrets};

use super::{ConsumerView, Ended, Part, Stop, http_client::Address};
use kafka::Topics;
use poll::{Schedule, poll};
use postgres::Tables;
use snapshot::{Answer, Slot};
use status::status;

/// All dependencies, and what is known of them.
#[derive(Debug)]
pub struct Dependencies {
    all: Vec<Arc<Dependency>>,
    schedule: Schedule,
    secrets: Secrets,
}

/// A dependency as it stands.
#[derive(Clone, Debug)]
pub struct DependencyReport {
    pub name: String,
    pub kind: &'static str,
    pub status: Status,
    pub snapshot: Option<Snapshot>,
}

#[derive(Debug)]
struct Dependency {
    name: String,
    kind: &'static str,
    /// None where the address or the credential is not configured.
    probe: Option<Probe>,
    slot: Slot,
}

/// How a dependency is asked.
#[derive(Debug)]
enum Probe {
    Topics(Topics),
    Tables(Tables),
    Http(Address),
    Mcp(Address),
}

impl Dependencies {
    /// Of the consumer of this view, in a program that listens at this address.
    pub fn new(config: &Config, view: Arc<ConsumerView>, listens_at: SocketAddr) -> Self {
        let topics = Topics::new(&config.kafka, config.kafka.topics.clone(), Some(view));
        let own_mcp = own_mcp(config.http.token.as_ref(), listens_at);
        let mut all = vec![
            Dependency::new("broker", "kafka", topics.map(Probe::Topics)),
            Dependency::new("postgres", "postgres", Some(Probe::Tables(Tables::new(config)))),
            Dependency::new("mcp", "mcp", own_mcp.map(Probe::Mcp)),
        ];
        if let Some(topic) = &config.outbox.topic {
            let topic = Topics::new(&config.kafka, vec![topic.clone()], None);
            all.push(Dependency::new("outbox", "kafka", topic.map(Probe::Topics)));
        }
        all.extend(config.health.endpoints.iter().map(|(name, endpoint)| {
            let address = address_of(endpoint);
            match endpoint.kind {
                EndpointKind::Http => Dependency::new(name.as_str(), "http", address.map(Probe::Http)),
                EndpointKind::Mcp => Dependency::new(name.as_str(), "mcp", address.map(Probe::Mcp)),
            }
        }));
        Self {
            all: all.into_iter().map(Arc::new).collect(),
            schedule: Schedule { interval: config.health.interval, timeout: config.health.timeout },
            secrets: config.secrets(),
        }
    }

    /// Asks each again and again, in a task of its own, for ever.
    async fn ask_again_and_again(&self) {
        let mut tasks = JoinSet::new();
        for dependency in &self.all {
            tasks.spawn(Arc::clone(dependency).run(self.schedule, self.secrets.clone()));
        }
        while tasks.join_next().await.is_some() {}
        // There are those that can't be asked; the others never end.
        std::future::pending().await
    }

    /// How each stands now.
    pub fn reports(&self) -> Vec<DependencyReport> {
        self.all.iter().map(|dependency| dependency.report(self.schedule.interval)).collect()
    }
}

impl Part for Dependencies {
    const NAME: &'static str = "dependencies";

    async fn run(&self, mut stop: Stop) -> Ended {
        tokio::select! {
            () = self.ask_again_and_again() => {}
            () = stop.asked() => {}
        }
        Ended::Done
    }
}

impl Dependency {
    fn new(name: &str, kind: &'static str, probe: Option<Probe>) -> Self {
        Self { name: name.to_owned(), kind, probe, slot: Slot::default() }
    }

    async fn run(self: Arc<Self>, schedule: Schedule, secrets: Secrets) {
        let Some(probe) = &self.probe else {
            tracing::warn!(dependency = self.name, "its address or its credential is not configured");
            return;
        };
        poll(schedule, &self.name, &self.slot, &secrets, || probe.ask(schedule.timeout)).await;
    }

    fn report(&self, interval: Duration) -> DependencyReport {
        let snapshot = self.slot.last();
        DependencyReport {
            name: self.name.clone(),
            kind: self.kind,
            status: status(self.probe.is_some(), snapshot.as_ref(), interval, Instant::now()),
            snapshot,
        }
    }
}

impl Probe {
    async fn ask(&self, timeout: Duration) -> Answer {
        match self {
            Probe::Topics(topics) => topics.ask(timeout).await,
            Probe::Tables(tables) => tables.ask(timeout).await,
            Probe::Http(address) => http::ask(address).await,
            Probe::Mcp(address) => mcp::ask(address).await,
        }
    }
}

/// Our own MCP endpoint as a client on this machine sees it.
fn own_mcp(token: Option<&Secret>, listens_at: SocketAddr) -> Option<Address> {
    let mut address = listens_at;
    // All addresses are no address to connect to.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let target: Uri = format!("http://{address}/mcp").parse().ok()?;
    let authorization = match token {
        Some(token) => Some(header("Bearer", token)?),
        None => None,
    };
    Some(Address { target, authorization })
}

fn address_of(endpoint: &EndpointConfig) -> Option<Address> {
    let authorization = match &endpoint.authorization {
        Authorization::NotNeeded => None,
        Authorization::Missing => return None,
        Authorization::Header { scheme, secret } => Some(header(scheme, secret)?),
    };
    Some(Address { target: endpoint.url.as_ref()?.target().clone(), authorization })
}

fn header(scheme: &str, secret: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {}", secret.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}
