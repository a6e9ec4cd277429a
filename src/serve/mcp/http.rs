//! The protocol over HTTP: streamable HTTP without sessions, each answer as JSON.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use serde_json::{Value, json};

use crate::config::HttpConfig;

use super::{
    super::{
        Observed,
        guard::{host, names_an_address},
        limits::{self, Limits},
        problem::{self, Problem},
    },
    Mcp,
    protocol::Server,
};

/// Of a request: a position has at most some thousand characters.
const MOST_BYTES: usize = 256 * 1_024;
/// A call that takes too long says so itself, by then.
const GRACE: Duration = Duration::from_secs(5);

/// `/mcp` and `/mcp/tools`, for those who may ask.
pub(in crate::serve) fn routes(mcp: &Arc<Mcp>, http: &HttpConfig) -> Router<Arc<Observed>> {
    let limits = Limits::with_timeout(http, mcp.timeout() + GRACE);
    Router::new()
        .route_service("/mcp", service(mcp))
        .route("/mcp/tools", get(list))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(limits, limits::within))
        .layer(from_fn_with_state(Arc::clone(mcp), admit))
}

fn service(mcp: &Arc<Mcp>) -> StreamableHttpService<Server, NeverSessionManager> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MOST_BYTES)
        // Names are looked at before, and there addresses pass.
        .disable_allowed_hosts()
        .with_allowed_origins(&mcp.config.allowed_origins)
        .enforce_origin_validation();
    let server = Server(Arc::clone(mcp));
    StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), config)
}

async fn list(State(observed): State<Arc<Observed>>) -> Json<Value> {
    Json(json!({"tools": observed.mcp.tools().collect::<Vec<_>>()}))
}

/// Lets requests through that name a host that may be named. The token goes no further: the library might log it.
async fn admit(State(mcp): State<Arc<Mcp>>, mut request: Request, next: Next) -> Response {
    if !may_be_named(request.headers(), &mcp.config.allowed_hosts) {
        let why = "the host in the URL must be an address, localhost, or one of mcp.allowed_hosts";
        return Problem::forbidden(why).into_response();
    }
    request.headers_mut().remove(header::AUTHORIZATION);
    next.run(request).await
}

fn may_be_named(headers: &HeaderMap, allowed: &[String]) -> bool {
    names_an_address(headers)
        || host(headers).is_some_and(|name| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_the_configured_names_may_be_asked() {
        let allowed = ["sessions.example.com".to_owned()];
        let admitted =
            |host: &str| may_be_named(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]), &allowed);
        for host in ["127.0.0.1:8080", "localhost", "[::1]:1", "10.0.0.7:8080", "Sessions.Example.com:443"] {
            assert!(admitted(host), "{host}");
        }
        for host in ["evil.example", "sessions.example.com.evil.example", "", "example.com:443"] {
            assert!(!admitted(host), "{host}");
        }
    }
}
