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
    /// How many batches the group works on side by side. A member that has a part of the partitions uses as great a part of
    /// them, at least one.
    pub lanes: NonZeroUsize,
    /// A member's lanes are never more: one without a connection could only wait for another's.
    pub connections: NonZeroUsize,
    pub until: Until,
    pub membership: Membership,
    /// At most this many records a second.
    pub rate: Option<NonZeroU32>,
    /// Whether the record of every event is kept, since any event may become a dead letter.
    pub keep_records: bool,
    /// Where it tells how far it came.
    pub progress: Arc<ReadProgress>,
}
