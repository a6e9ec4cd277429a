//! The metrics of the traces.

use crate::traces::{DropReason, SpanQueue};

use super::exposition::{Exposition, Kind};

/// Without traces the families have no samples.
pub(super) fn write(out: &mut Exposition, spans: Option<&SpanQueue>) {
    let mut sent =
        out.family(Kind::Counter, "sessionfold_traces_spans_sent_total", "Spans that the collector of traces took.");
    if let Some(spans) = spans {
        sent.sample(&[], spans.sent());
    }
    let mut dropped = out.family(
        Kind::Counter,
        "sessionfold_traces_spans_dropped_total",
        "Spans that were not sent: no room, refused by the collector, or not taken in time.",
    );
    if let Some(spans) = spans {
        for reason in DropReason::ALL {
            dropped.sample(&[("reason", reason.as_str())], spans.dropped(reason));
        }
    }
    let mut waiting = out.family(Kind::Gauge, "sessionfold_traces_spans_waiting", "Spans that wait to be sent.");
    if let Some(spans) = spans {
        waiting.sample(&[], spans.len());
    }
}
