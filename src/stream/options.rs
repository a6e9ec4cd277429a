//! How a consumer reads.

use std::num::NonZeroUsize;

use crate::{config::KafkaConfig, event::Decoder};

use super::batch::BatchLimits;

/// When reading ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Stopped,
    /// Every assigned partition was read to its end.
    Drained,
}

/// How to read.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    pub kafka: KafkaConfig,
    pub decoder: Decoder,
    /// Of all lanes together.
    pub limits: BatchLimits,
    /// How many batches are worked on side by side.
    pub lanes: NonZeroUsize,
    pub until: Until,
}
