//! What others ask over HTTP: health, metrics, sessions. It reads only, by connections of its own, within limits of its
//! own, and from what the consumer notes anyway; so nobody who asks slows, stops or changes the consumer.
//!
//! | path | answer |
//! |---|---|
//! | `/livez`, `/readyz` | whether to start the program again, whether to rely on it; without a token |
//! | `/healthz` | each part, as JSON |
//! | `/metrics` | Prometheus's text format |
//! | `/api/v1/sessions…` | sessions, as JSON |
//! | `/api/v1/openapi.json` | how to ask for them |
//! | `/mcp`, `/mcp/tools` | what agents ask, by the Model Context Protocol |

mod exposition;
mod guard;
mod limits;
mod listener;
mod mcp;
mod metrics;
mod outbox;
mod parameters;
mod probes;
mod problem;
mod process;
mod reader;
mod requests;
#[cfg(feature = "sabotage")]
mod sabotage;
mod sessions;
mod traces;

pub use listener::{Http, Listener};
pub use mcp::{StdioError, serve_stdio};

use std::{io, sync::Arc, time::SystemTime};

use axum::{
    Router,
    http::header,
    middleware::{from_fn, from_fn_with_state},
    routing::get,
};

use crate::{
    config::{Config, HttpConfig, Secrets},
    service::{Board, ConsumerView, Dependencies, Health, Monitor, OutboxCounts, PartReport, open_store_with},
    store::Store,
    traces::SpanQueue,
};

use guard::Guard;
use limits::Limits;
use mcp::{Mcp, Running};
use reader::Reader;
use requests::RequestCounts;

/// Connections for what is asked of the tables.
const CONNECTIONS: u32 = 2;

/// A document by the OpenAPI Specification 3.1; tests hold it against the answers.
const OPENAPI: &str = include_str!("openapi.json");

/// The parts of a running service that others may see.
#[derive(Debug)]
pub struct Seen {
    pub view: Arc<ConsumerView>,
    pub board: Arc<Board>,
    /// The consumer's: looked at, never used.
    pub store: Store,
    pub health: Arc<Health>,
    pub dependencies: Arc<Dependencies>,
    /// What works in rounds beside the consumer, by name.
    pub parts: Vec<(&'static str, Arc<PartReport>)>,
    /// What the publisher counts; none where none runs.
    pub outbox: Option<Arc<OutboxCounts>>,
    /// The spans on their way to a collector; none where traces are off.
    pub spans: Option<Arc<SpanQueue>>,
    pub started_at: SystemTime,
}

/// A running service, as those see it who ask.
#[derive(Debug)]
pub struct Observed {
    seen: Seen,
    group_id: String,
    /// What must not be told, whoever's words it is in.
    secrets: Secrets,
    reader: Reader,
    mcp: Arc<Mcp>,
    requests: RequestCounts,
}

impl Observed {
    /// # Errors
    /// If the system gives no thread.
    pub fn new(config: &Config, seen: Seen) -> io::Result<Self> {
        let running = Running {
            view: Arc::clone(&seen.view),
            store: seen.store.clone(),
            health: Arc::clone(&seen.health),
            parts: seen.parts.clone(),
        };
        Ok(Self {
            seen,
            group_id: config.kafka.group_id.clone(),
            secrets: config.secrets(),
            reader: Reader::start("http-read", open_store_with(config, CONNECTIONS, config.http.timeout))?,
            mcp: Arc::new(Mcp::beside(config, running)?),
            requests: RequestCounts::default(),
        })
    }

    fn monitor(&self) -> Monitor {
        self.seen.view.monitor()
    }
}

/// All paths, with what stands before them.
fn router(observed: Arc<Observed>, http: &HttpConfig) -> Router {
    let asks_tables = Router::new()
        .route("/api/v1/sessions", get(sessions::list))
        .route("/api/v1/sessions/{session_id}", get(sessions::show))
        .route("/api/v1/sessions/{session_id}/timeline", get(sessions::timeline))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(Limits::new(http), limits::within));
    let guarded = Router::new()
        .route("/healthz", get(probes::health))
        .route("/metrics", get(metrics::show))
        .route("/api/v1/openapi.json", get(([(header::CONTENT_TYPE, "application/json")], OPENAPI)))
        .merge(asks_tables)
        .merge(mcp::routes(&observed.mcp, http));
    #[cfg(feature = "sabotage")]
    let guarded = guarded.merge(sabotage::router());
    let guarded = guarded
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::no_such_path)
        .layer(from_fn_with_state(Arc::new(Guard::new(http)), guard::check));
    Router::new()
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .merge(guarded)
        .layer(from_fn(problem::locate))
        .layer(from_fn_with_state(Arc::clone(&observed), requests::count))
        .with_state(observed)
}
