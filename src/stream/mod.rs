//! All Kafka there is: the polling thread, assignment, seeking, pausing, committing, producing.

mod batch;
mod client;
mod consumer;
mod error;
mod headers;
mod lease;
mod poller;
mod reading;
mod rebalance;

pub use batch::{Batch, BatchLimits, Item, Slice};
pub use consumer::{Consumer, ConsumerOptions, Notice, ReadProgress, Stopper, Until};
pub use error::StreamError;
pub use lease::{Held, Lease, Leases};
