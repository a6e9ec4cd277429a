//! The ids of traces and spans. None of them is zero, which the protocol takes for none.

use std::num::{NonZeroU64, NonZeroU128};

use uuid::Uuid;

/// The id of a trace: the correlation id of whatever it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// None for the nil UUID.
    pub fn of(correlation_id: Uuid) -> Option<Self> {
        NonZeroU128::new(correlation_id.as_u128()).map(Self)
    }

    pub fn get(self) -> u128 {
        self.0.get()
    }

    pub fn to_bytes(self) -> [u8; 16] {
        self.get().to_be_bytes()
    }
}

/// The id of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// A new one, at random.
    pub fn random() -> Self {
        Self(NonZeroU64::new(fastrand::u64(1..)).unwrap_or(NonZeroU64::MAX))
    }

    pub fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

/// A span as others name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanPlace {
    pub trace_id: TraceId,
    pub span_id: SpanId,
}
