//! All Kafka there is: the polling thread, assignment, seeking, pausing, committing, producing.

mod alarm;
mod assignment;
mod batch;
mod client;
mod consumer;
mod error;
mod generated;
mod headers;
mod lanes;
mod lease;
mod log_ends;
mod log_reader;
mod member;
mod messages;
mod options;
mod poller;
mod producer;
mod progress;
mod reading;
mod rebalance;
mod topics;
mod wire;

pub use batch::{Batch, BatchLimits, Item, Slice};
pub use consumer::{Consumer, Stopper};
pub use error::StreamError;
pub use generated::{KindTopics, produce};
pub use lease::{Held, Lease, Leases};
pub use log_ends::{KnownLogEnds, LogEnds, known_log_ends, log_ends};
pub use log_reader::{LogRange, read_logs};
pub use messages::Notice;
pub use options::{ConsumerOptions, Until};
pub use producer::{Delivered, Outgoing, Producer};
pub use progress::{ReadProgress, SeenEnds};
pub use topics::{create_topics, describe_topics};
