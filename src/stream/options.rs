//! How a consumer reads.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
};

use crate::{config::KafkaConfig, event::Decoder};

use super::{batch::BatchLimits, log_reader::LogRange, progress::ReadProgress};

/// When reading ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Stopped,
    /// Every assigned partition was read to its end.
    Drained,
}

/// Who says which partitions are read.
#[derive(Clone, Debug)]
pub enum Membership {
    /// The consumer group, of the configured topics.
    Group,
    /// Nobody: these stretches are read beside any group, which is neither joined nor told of any offset. Where reading
    /// begins is the checkpoints' affair, as ever; [`LogRange::from`] is where one is made.
    Alone(Vec<LogRange>),
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
    pub membership: Membership,
    /// At most this many records a second.
    pub rate: Option<NonZeroU32>,
    /// Whether the record of every event is kept, since any event may become a dead letter.
    pub keep_records: bool,
    /// Where it tells how far it came.
    pub progress: Arc<ReadProgress>,
}
