//! Spans in the form of OTLP, with the names of OpenTelemetry's semantic conventions where there are some.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource as ResourceMessage,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span as SpanMessage, Status,
        span::{Link, SpanKind},
        status::StatusCode,
    },
};
use prost::Message;
use uuid::Uuid;

use super::{
    EventOutcome, Span,
    span::{BatchOutcome, BatchSpan, EventSpan, SpanBody, StationSpan},
};

/// W3C's flag that a trace is recorded, and OTLP's that it is known whether a parent is another process's: here none is.
const FLAGS: u32 = 0x101;

/// Who sends spans.
#[derive(Clone, Debug)]
pub struct Resource(ResourceMessage);

impl Resource {
    /// This process, as an instance of that service.
    pub fn of_process(service_name: &str) -> Self {
        let attributes = vec![
            text("service.name", service_name),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", Uuid::now_v7().to_string()),
        ];
        Self(ResourceMessage { attributes, ..ResourceMessage::default() })
    }

    /// The body of a request that brings these spans.
    pub fn request(&self, spans: &[Span]) -> Vec<u8> {
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans =
            ScopeSpans { scope: Some(scope), spans: spans.iter().map(message).collect(), ..ScopeSpans::default() };
        let of_process =
            ResourceSpans { resource: Some(self.0.clone()), scope_spans: vec![spans], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![of_process] }.encode_to_vec()
    }
}

/// How many spans of a request the collector says that it refused, in the body of an answer of success. What is no such
/// body says of none.
pub fn rejected_spans(body: &[u8]) -> usize {
    let answer = ExportTraceServiceResponse::decode(body).ok();
    let partial = answer.and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| usize::try_from(partial.rejected_spans).unwrap_or(0))
}

fn message(span: &Span) -> SpanMessage {
    let common = SpanMessage {
        trace_id: span.place.trace_id.to_bytes().to_vec(),
        span_id: span.place.span_id.to_bytes().to_vec(),
        flags: FLAGS,
        start_time_unix_nano: since_1970(span.begun_at),
        end_time_unix_nano: since_1970(span.ended_at),
        ..SpanMessage::default()
    };
    match &span.body {
        SpanBody::Batch(batch) => of_batch(batch, common),
        SpanBody::Station(station) => of_station(station, common),
        SpanBody::Event(event) => of_event(event, span, common),
    }
}

fn of_batch(batch: &BatchSpan, common: SpanMessage) -> SpanMessage {
    let has_failed = batch.outcome == BatchOutcome::Failed;
    let mut attributes = consuming(&batch.group_id);
    attributes.extend([
        number("messaging.batch.message_count", batch.records),
        text("sessionfold.outcome", batch.outcome.as_str()),
        number("sessionfold.lane", batch.lane as u64),
        number("sessionfold.partitions", batch.partitions as u64),
        number("sessionfold.tries", batch.tries),
        number("sessionfold.records.applied", batch.applied),
        number("sessionfold.records.duplicate", batch.duplicates),
        number("sessionfold.records.ignored", batch.ignored),
        number("sessionfold.records.rejected", batch.rejected),
        number("sessionfold.records.dead_letter", batch.dead_letters),
        number("sessionfold.records.let_go", batch.let_go),
    ]);
    if has_failed {
        attributes.push(text("error.type", "given_up"));
    }
    SpanMessage {
        name: "process batch".to_owned(),
        kind: SpanKind::Consumer.into(),
        attributes,
        status: failed_if(has_failed),
        ..common
    }
}

fn of_station(station: &StationSpan, common: SpanMessage) -> SpanMessage {
    let mut attributes = Vec::new();
    if station.asks_postgres {
        attributes.push(text("db.system.name", "postgresql"));
    }
    if let Some(failure) = &station.failure {
        attributes.push(text("error.type", failure.name));
        attributes.extend(failure.sqlstate.as_ref().map(|code| text("db.response.status_code", &**code)));
    }
    let kind = if station.asks_postgres { SpanKind::Client } else { SpanKind::Internal };
    SpanMessage {
        parent_span_id: station.batch.to_bytes().to_vec(),
        name: station.name.to_owned(),
        kind: kind.into(),
        attributes,
        status: failed_if(station.failure.is_some()),
        ..common
    }
}

fn of_event(event: &EventSpan, span: &Span, common: SpanMessage) -> SpanMessage {
    let correlation_id = Uuid::from_u128(span.place.trace_id.get());
    let topic = &*event.partition.topic;
    let mut attributes = consuming(&event.group_id);
    attributes.extend([
        text("messaging.destination.name", topic),
        text("messaging.destination.partition.id", event.partition.partition.to_string()),
        attribute("messaging.kafka.offset", Value::IntValue(event.offset.get())),
        text("messaging.message.conversation_id", correlation_id.to_string()),
        text("session.id", event.session_id.as_str()),
        text("sessionfold.event.kind", event.kind.as_str()),
        text("sessionfold.event.id", event.event_id.to_string()),
        text("sessionfold.event.causation_id", event.causation_id.to_string()),
        text("sessionfold.outcome", event.outcome.as_str()),
    ]);
    attributes.extend(event.outcome.reason().map(|reason| text("sessionfold.reason", reason)));
    if let Some(age) = event.record_timestamp.and_then(|at| span.ended_at.duration_since(at.as_utc()?.into()).ok()) {
        attributes.push(attribute("sessionfold.record_to_commit_seconds", Value::DoubleValue(age.as_secs_f64())));
    }
    let link = Link {
        trace_id: event.batch.trace_id.to_bytes().to_vec(),
        span_id: event.batch.span_id.to_bytes().to_vec(),
        flags: FLAGS,
        ..Link::default()
    };
    SpanMessage {
        name: format!("process {topic}"),
        kind: SpanKind::Consumer.into(),
        attributes,
        links: vec![link],
        status: failed_if(matches!(event.outcome, EventOutcome::DeadLetter(_))),
        ..common
    }
}

/// What all that is consumed has in common.
fn consuming(group_id: &str) -> Vec<KeyValue> {
    vec![
        text("messaging.system", "kafka"),
        text("messaging.operation.name", "process"),
        text("messaging.operation.type", "process"),
        text("messaging.consumer.group.name", group_id),
    ]
}

/// In a span that hasn't failed the status is left to whoever reads it, as the conventions have it.
fn failed_if(has_failed: bool) -> Option<Status> {
    has_failed.then(|| Status { code: StatusCode::Error.into(), ..Status::default() })
}

fn text(key: &'static str, text: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(text.into()))
}

fn number(key: &'static str, number: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)))
}

fn attribute(key: &'static str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// In nanoseconds; 0 for what is before.
fn since_1970(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
