//! What is told to a collector of traces: spans, which of them are taken, the queue in which they wait, and their form on
//! the wire (OTLP). Whoever takes them from the queue sends them.
//!
//! Spans are made here directly, and not by OpenTelemetry's SDK nor by a layer of `tracing`. An event's span must be the
//! root of a trace whose id is the event's correlation id, which neither lets one choose; thousands of events share the
//! times of one batch, so that there is nothing to enter and to leave; and what a full queue drops has to be counted where
//! `/metrics` sees it, which the SDK tells to its log only.

mod ids;
mod otlp;
mod queue;
mod sampler;
mod span;

pub use ids::{SpanId, SpanPlace, TraceId};
pub use otlp::{Resource, rejected_spans};
pub use queue::{DropReason, SpanQueue, TakenSpans};
pub use sampler::Sampler;
pub use span::{BatchOutcome, BatchSpan, EventOutcome, EventSpan, FailureKind, Span, SpanBody, StationSpan};
