//! Endpoints of a test's own, to be asked after their health.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{Method, StatusCode, header},
    response::Response,
};
use hyper::{ext::ReasonPhrase, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// What an endpoint does with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Manner {
    /// Answers with this status. All that the request brought along is in the answer: in its body, a header, and the
    /// reason of its status.
    Echoes(u16),
    /// Takes the request, and says nothing.
    Hangs,
    /// Has three tools on two pages, for who brings this along as authorization.
    Tools { authorization: String, streams: bool },
    /// Answers with a body that doesn't end.
    Endless,
}

/// One that answers on an address of its own until the test is over.
#[derive(Clone)]
pub struct Endpoint {
    pub address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    /// Methods and paths, in the order in which they came; of messages their method.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    pub async fn start(manner: Manner) -> Self {
        Self::start_with(manner, None).await
    }

    pub async fn start_with(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let endpoint = Self { address, manner: Arc::new(Mutex::new(manner)), asked: Arc::default() };
        let answering = endpoint.clone();
        let router = Router::new().fallback(move |request| answering.clone().answer(request));
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let (router, tls) = (router.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        // Who doesn't trust it goes away.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, router).await;
                            }
                        }
                        None => serve(stream, router).await,
                    }
                });
            }
        });
        endpoint
    }

    pub fn turn_to(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    async fn answer(self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let what = message["method"].as_str().map_or(head.uri.to_string(), str::to_owned);
        self.asked.lock().unwrap().push(format!("{} {what}", head.method));
        let brought = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let manner = self.manner.lock().unwrap().clone();
        match manner {
            Manner::Hangs => std::future::pending().await,
            Manner::Endless => endless(),
            Manner::Echoes(status) => echo(status, &format!("{} {}", head.uri, brought("authorization"))),
            Manner::Tools { authorization, .. } if brought("authorization") != authorization => {
                echo(401, &format!("{} is not {authorization}", brought("authorization")))
            }
            Manner::Tools { streams, .. } => {
                let begun = message["method"] == "initialize";
                let in_session =
                    brought("mcp-session-id") == "session-1" && brought("mcp-protocol-version") == "2025-06-18";
                assert!(begun || in_session, "{what}");
                assert_eq!(brought("accept") == "application/json, text/event-stream", head.method == Method::POST);
                tools(&message, streams)
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router) {
    // Whoever asked may go away at any time.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
}

fn echo(status: u16, text: &str) -> Response {
    let mut response = Response::builder()
        .status(status)
        .header("x-echo", text)
        .header(header::LOCATION, "http://127.0.0.1:1/elsewhere")
        .body(Body::from(text.to_owned()))
        .unwrap();
    response.extensions_mut().insert(ReasonPhrase::try_from(text.as_bytes().to_vec()).unwrap());
    response
}

fn endless() -> Response {
    let piece = vec![b' '; 1 << 16];
    let pieces = futures_util::stream::repeat_with(move || Ok::<_, Infallible>(piece.clone()));
    Response::builder().header(header::CONTENT_TYPE, "application/json").body(Body::from_stream(pieces)).unwrap()
}

fn tools(message: &Value, streams: bool) -> Response {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let result = match message["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "test", "version": "0"},
        }),
        Some("tools/list") if message["params"]["cursor"] == "next" => json!({"tools": [tool("c")]}),
        Some("tools/list") => json!({"tools": [tool("a"), tool("b")], "nextCursor": "next"}),
        _ => return Response::builder().status(StatusCode::ACCEPTED).body(Body::empty()).unwrap(),
    };
    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    let response = Response::builder().header("mcp-session-id", "session-1");
    if streams {
        let other = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}});
        let events = format!(": hello\n\ndata: {other}\n\nevent: message\ndata: {answer}\n\n");
        // It stays open behind the answer.
        let open = futures_util::stream::pending();
        let events = futures_util::StreamExt::chain(futures_util::stream::iter([Ok::<_, Infallible>(events)]), open);
        return response.header(header::CONTENT_TYPE, "text/event-stream").body(Body::from_stream(events)).unwrap();
    }
    response.header(header::CONTENT_TYPE, "application/json; charset=utf-8").body(Body::from(answer)).unwrap()
}
