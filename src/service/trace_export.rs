//! The part that sends spans to the collector: one request at a time, beside the consumer, which never waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use tokio::time::timeout;

use crate::{
    backoff::Backoff,
    config::{CollectorHeader, Config},
    pipeline::Tracing,
    traces::{DropReason, Resource, Sampler, SpanQueue, TakenSpans, rejected_spans},
};

use super::{
    Ended, Part, Stop,
    fault::Fault,
    http_client::{Address, Client, read},
};

/// Most spans in one request: about 600 kB, where collectors take 20 MB.
const MOST_SPANS: usize = 1_024;
/// How long a span may wait for company.
const LINGER: Duration = Duration::from_secs(1);
/// How long it is tried to send the same spans: long enough for a collector that is started anew.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);
const LEAST_PAUSE: Duration = Duration::from_millis(250);
const MOST_PAUSE: Duration = Duration::from_secs(10);
/// How long a collector that has taken spans may take to say of how many it hasn't.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long the last spans may take once the program stops.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// Sends spans to the collector.
#[derive(Debug)]
pub struct TraceExporter {
    queue: Arc<SpanQueue>,
    tracing: Tracing,
    address: Address,
    headers: HeaderMap,
    resource: Resource,
    timeout: Duration,
    told: Told,
}

/// What the log was told, so that it isn't told each time.
#[derive(Debug, Default)]
struct Told {
    of_failure: AtomicBool,
    of_refusal: AtomicBool,
    of_no_room: AtomicBool,
    /// Spans for which there was no room, when that was last looked at.
    without_room: AtomicU64,
}

/// What a collector makes of a request.
enum Verdict {
    /// It has the spans, but for so many.
    Taken { refused: usize },
    /// It will never have them.
    Refused(Fault),
    /// It may have them later.
    NotNow { fault: Fault, pause: Option<Duration> },
}

impl TraceExporter {
    /// None where traces are off.
    pub fn new(config: &Config) -> Option<Self> {
        let traces = &config.traces;
        let target = traces.endpoint.as_ref()?.target().clone();
        if traces.shows_secrets() {
            tracing::warn!("what is sent along to traces.endpoint can be read on the way there: it is http, not https");
        }
        let queue = Arc::new(SpanQueue::new(traces.max_waiting));
        let tracing = Tracing {
            queue: Arc::clone(&queue),
            sampler: Sampler::new(traces.sample),
            group_id: config.kafka.group_id.as_str().into(),
        };
        Some(Self {
            queue,
            tracing,
            address: Address { target, authorization: None },
            headers: headers(&traces.headers),
            resource: Resource::of_process(&traces.service_name),
            timeout: traces.timeout,
            told: Told::default(),
        })
    }

    /// Where a pipeline leaves what it tells.
    pub fn tracing(&self) -> Tracing {
        self.tracing.clone()
    }

    /// What waits, and what became of the rest.
    pub fn queue(&self) -> Arc<SpanQueue> {
        Arc::clone(&self.queue)
    }

    /// Until it is asked to stop; then all that waits, unless something fails.
    async fn send_all(&self, mut stop: Stop) {
        let mut client = None;
        while !stop.is_asked() {
            tokio::select! {
                () = self.queue.filled(MOST_SPANS, LINGER) => {}
                () = stop.asked() => break,
            }
            if let Some(spans) = self.queue.take(MOST_SPANS) {
                self.deliver(&mut client, spans, &mut stop).await;
            }
            self.tell_of_no_room();
        }
        while let Some(spans) = self.queue.take(MOST_SPANS) {
            if !self.deliver(&mut client, spans, &mut stop).await {
                break;
            }
        }
    }

    /// Tries again and again, for a while. Returns whether the collector took or refused them.
    async fn deliver<'a>(&'a self, client: &mut Option<Client<'a>>, spans: TakenSpans<'_>, stop: &mut Stop) -> bool {
        let body = Bytes::from(self.resource.request(spans.spans()));
        let (begun, mut backoff) = (Instant::now(), Backoff::new(LEAST_PAUSE, MOST_PAUSE));
        loop {
            // Before it is sent: what is asked for meanwhile is heeded after it.
            let is_last = stop.is_asked();
            let verdict = timeout(self.timeout, self.send(client, body.clone())).await;
            match verdict.unwrap_or_else(|_| Verdict::not_now(format!("no answer within {:?}", self.timeout))) {
                Verdict::Taken { refused } => {
                    spans.delivered(refused);
                    self.tell_of_success(refused);
                    return true;
                }
                Verdict::Refused(fault) => {
                    spans.refused();
                    self.tell_of_failure(&fault);
                    return true;
                }
                Verdict::NotNow { fault, pause } => {
                    self.tell_of_failure(&fault);
                    let pause = pause.unwrap_or_default().max(backoff.next_delay()).min(MOST_PAUSE);
                    if is_last || begun.elapsed() + pause > GIVEN_UP_AFTER {
                        return false;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.asked() => {}
                    }
                }
            }
        }
    }

    async fn send<'a>(&'a self, client: &mut Option<Client<'a>>, body: Bytes) -> Verdict {
        let answer = async {
            let client = match client {
                Some(client) => client,
                None => client.insert(Client::new(&self.address).await?),
            };
            client.send(Method::POST, self.headers.clone(), body).await
        };
        match answer.await {
            Ok(response) => Verdict::of(response).await,
            Err(fault) => Verdict::NotNow { fault, pause: None },
        }
    }

    fn tell_of_success(&self, refused: usize) {
        if self.told.of_failure.swap(false, Ordering::Relaxed) {
            tracing::info!("the collector takes traces again");
        }
        if refused > 0 && !self.told.of_refusal.swap(true, Ordering::Relaxed) {
            tracing::warn!(refused, "the collector refused spans of a request that it took otherwise");
        }
    }

    fn tell_of_failure(&self, fault: &Fault) {
        if !self.told.of_failure.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %fault, "the collector does not take traces; what can't be sent is dropped and counted");
        }
    }

    /// Once for each time in which it happens again and again.
    fn tell_of_no_room(&self) {
        let dropped = self.queue.dropped(DropReason::QueueFull);
        let before = self.told.without_room.swap(dropped, Ordering::Relaxed);
        if dropped == before {
            self.told.of_no_room.store(false, Ordering::Relaxed);
        } else if !self.told.of_no_room.swap(true, Ordering::Relaxed) {
            tracing::warn!(dropped = dropped - before, "more spans came than there was room for; they were dropped");
        }
    }
}

impl Part for TraceExporter {
    const NAME: &'static str = "traces";

    async fn run(&self, mut stop: Stop) -> Ended {
        let mut work = std::pin::pin!(self.send_all(stop.clone()));
        tokio::select! {
            () = &mut work => return Ended::Done,
            () = stop.asked() => {}
        }
        // What is under way, and what waits. It ends by itself, but for a collector that hangs.
        let _ = timeout(LAST_WITHIN, work).await;
        // Counted as given up.
        drop(self.queue.take(usize::MAX));
        Ended::Done
    }
}

impl Verdict {
    fn not_now(what: String) -> Self {
        Self::NotNow { fault: Fault::new(what), pause: None }
    }

    /// By OTLP's rules for HTTP.
    async fn of(response: Response<Incoming>) -> Self {
        let status = response.status();
        let fault = Fault::new(format!("it answers with status {}", status.as_u16()));
        match status {
            status if status.is_success() => {
                // It has them, whatever becomes of what it says about it.
                let body = timeout(LAST_WORDS, read(response)).await.ok().and_then(Result::ok).unwrap_or_default();
                Self::Taken { refused: rejected_spans(&body) }
            }
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                Self::NotNow { fault, pause: seconds.map(Duration::from_secs) }
            }
            _ => Self::Refused(fault),
        }
    }
}

fn headers(configured: &[CollectorHeader]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for CollectorHeader { name, value, .. } in configured {
        // The configuration has seen to it that there is one.
        if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers
}
