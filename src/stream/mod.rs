//! All Kafka there is: the polling thread, assignment, seeking, pausing, committing, producing.

mod batch;
mod client;
mod consumer;
mod error;
mod generated;
mod headers;
mod lease;
mod log_ends;
mod poller;
mod producer;
mod reading;
mod rebalance;
mod topics;

pub use batch::{Batch, BatchLimits, Item, Slice};
pub use consumer::{Consumer, ConsumerOptions, Notice, ReadProgress, Stopper, Until};
pub use error::StreamError;
pub use generated::{KindTopics, produce};
pub use lease::{Held, Lease, Leases};
pub use log_ends::{LogEnds, log_ends};
pub use producer::{Delivered, Outgoing, Producer};
pub use topics::{create_topics, describe_topics};
