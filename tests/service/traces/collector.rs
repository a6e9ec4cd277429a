//! A collector of a test's own, which reads what it is sent with OTLP's official messages.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use hyper::{ext::ReasonPhrase, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::program::until;

/// What a collector does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    Takes,
    /// Takes it, but for so many spans.
    TakesWithout(i64),
    /// Answers with this status, and with all that the request brought along in its body and its reason.
    Echoes(u16),
    /// Says nothing.
    Hangs,
    /// Answers with a body that doesn't end.
    Endless,
}

/// One that takes spans on an address of its own until the test is over.
#[derive(Clone)]
pub struct Collector {
    pub address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    /// Requests of whatever fate.
    requests: usize,
    headers: Vec<HeaderMap>,
    bodies: Vec<Vec<u8>>,
    resources: Vec<Vec<KeyValue>>,
    spans: Vec<Span>,
}

impl Collector {
    pub async fn start(manner: Manner) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let collector = Self { address, manner: Arc::new(Mutex::new(manner)), received: Arc::default() };
        let taking = collector.clone();
        let router = Router::new().fallback(move |request| taking.clone().answer(request));
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let service = TowerToHyperService::new(router.clone());
                // Whoever sends may go away at any time.
                tokio::spawn(
                    async move { http1::Builder::new().serve_connection(TokioIo::new(stream), service).await },
                );
            }
        });
        collector
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    pub fn turn_to(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// How often it was asked, whatever it did.
    pub fn requests(&self) -> usize {
        self.received.lock().unwrap().requests
    }

    /// Those of all requests.
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.received.lock().unwrap().headers.clone()
    }

    /// What it took, as it came.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.received.lock().unwrap().bodies.clone()
    }

    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        self.received.lock().unwrap().resources.iter().map(|attributes| shown(attributes)).collect()
    }

    /// What it took.
    pub fn spans(&self) -> Spans {
        Spans(self.received.lock().unwrap().spans.iter().map(Seen::of).collect())
    }

    pub async fn until_it_has(&self, what: &str, condition: impl Fn(&Spans) -> bool) -> Spans {
        until(what, Duration::from_secs(60), async || condition(&self.spans())).await;
        self.spans()
    }

    async fn answer(self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, 1 << 24).await.unwrap();
        let manner = *self.manner.lock().unwrap();
        {
            let mut received = self.received.lock().unwrap();
            received.requests += 1;
            received.headers.push(head.headers.clone());
        }
        let partial = match manner {
            Manner::Takes => None,
            Manner::TakesWithout(rejected_spans) => {
                Some(ExportTracePartialSuccess { rejected_spans, error_message: format!("{:?}", head.headers) })
            }
            Manner::Echoes(status) => return echo(status, &head.headers),
            Manner::Hangs => return std::future::pending().await,
            Manner::Endless => {
                let pieces = futures_util::stream::repeat_with(|| Ok::<_, std::convert::Infallible>(vec![0; 1 << 16]));
                return Response::new(Body::from_stream(pieces));
            }
        };
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/v1/traces"));
        assert_eq!(head.headers["content-type"], "application/x-protobuf");
        let message = ExportTraceServiceRequest::decode(body.clone()).expect("a request as OTLP has it");
        let mut received = self.received.lock().unwrap();
        received.bodies.push(body.to_vec());
        for of_process in message.resource_spans {
            received.resources.push(of_process.resource.expect("a resource").attributes);
            received.spans.extend(of_process.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        let answer = ExportTraceServiceResponse { partial_success: partial };
        Response::new(Body::from(answer.encode_to_vec()))
    }
}

fn echo(status: u16, headers: &HeaderMap) -> Response {
    let text = format!("{headers:?}");
    let mut response = Response::new(Body::from(text.clone()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.extensions_mut().insert(ReasonPhrase::try_from(text.into_bytes()).unwrap());
    response
}

/// All that a collector took.
#[derive(Debug)]
pub struct Spans(pub Vec<Seen>);

/// A span as a collector sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub trace_id: Uuid,
    pub span_id: Vec<u8>,
    pub parent: Vec<u8>,
    pub name: String,
    pub kind: SpanKind,
    pub begun: u64,
    pub ended: u64,
    pub failed: bool,
    pub attributes: BTreeMap<String, String>,
    /// Trace and span.
    pub links: Vec<(Uuid, Vec<u8>)>,
}

impl Seen {
    fn of(span: &Span) -> Self {
        let id = |bytes: &[u8]| Uuid::from_slice(bytes).expect("the id of a trace");
        assert_eq!((span.span_id.len(), span.flags), (8, 0x101));
        let status = span.status.as_ref().map(|status| status.code());
        Self {
            trace_id: id(&span.trace_id),
            span_id: span.span_id.clone(),
            parent: span.parent_span_id.clone(),
            name: span.name.clone(),
            kind: span.kind(),
            begun: span.start_time_unix_nano,
            ended: span.end_time_unix_nano,
            failed: status == Some(SpanStatus::Error),
            attributes: shown(&span.attributes),
            links: span.links.iter().map(|link| (id(&link.trace_id), link.span_id.clone())).collect(),
        }
    }

    pub fn is_event(&self) -> bool {
        self.attributes.contains_key("sessionfold.event.kind")
    }

    #[track_caller]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        self.attribute(name).parse().unwrap()
    }
}

impl Spans {
    pub fn events(&self) -> Vec<&Seen> {
        self.0.iter().filter(|span| span.is_event()).collect()
    }

    pub fn batches(&self) -> Vec<&Seen> {
        self.0.iter().filter(|span| span.name == "process batch").collect()
    }

    pub fn children(&self, of: &Seen) -> Vec<&Seen> {
        self.0.iter().filter(|span| span.parent == of.span_id).collect()
    }

    /// Over all batches.
    pub fn sum(&self, attribute: &str) -> u64 {
        self.batches().iter().map(|batch| batch.count(attribute)).sum()
    }
}

fn shown(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone().and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => panic!("{}: {other:?}", attribute.key),
    };
    let shown: BTreeMap<_, _> = attributes.iter().map(|one| (one.key.clone(), text(one))).collect();
    assert_eq!(shown.len(), attributes.len(), "an attribute that is there twice");
    shown
}
