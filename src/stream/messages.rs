//! What the polling thread and the pipeline tell each other, beside the batches.

use crate::{
    event::Decoder,
    record::{NextOffset, TopicPartition},
    store::{Checkpoint, Committed},
};

use super::{error::StreamError, lease::Lease};

/// What the polling thread tells the pipeline, beside the batches.
#[derive(Debug)]
pub enum Notice {
    /// Partitions were granted; they are read once `Command::Start` says from where.
    Granted(Vec<Lease>),
    /// Where Kafka would start, for partitions without a checkpoint.
    Located(Vec<(Lease, NextOffset)>),
    /// Kafka could not be asked; ask again.
    NotLocated(Vec<Lease>, StreamError),
    /// A partition is not read any more, until somebody decides how to go on.
    Halted(StreamError),
    /// Nothing is read any more.
    Failed(StreamError),
}

/// What the pipeline tells the polling thread.
#[derive(Debug)]
pub(super) enum Command {
    Locate(Vec<Lease>),
    Start(Vec<(Lease, Checkpoint)>),
    Restart(Vec<TopicPartition>),
    /// Keep the records of events before these offsets, when they are read again.
    KeepRecords(Vec<(TopicPartition, NextOffset)>),
    /// Decode like that from now on, keep the records of events or not, and grant everything anew.
    Renew {
        decoder: Decoder,
        keep_records: bool,
    },
    Commit(Committed),
    Close,
}
