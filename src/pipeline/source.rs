//! Where a pipeline's batches come from, and what it tells there.

use std::sync::Arc;

use crate::{
    event::Decoder,
    record::{NextOffset, TopicPartition},
    store::{Checkpoint, Committed},
    stream::{Batch, Consumer, Lease, Leases, Notice, ReadProgress, StreamError},
};

/// A member of a consumer group. [`Consumer`] is one of Kafka's; a simulation has one of its own.
///
/// A partition is granted with a lease ([`crate::stream::Notice::Granted`]), and read once it was told from where. What is
/// told here is obeyed later, in order.
#[expect(async_fn_in_trait, reason = "a pipeline is driven where it was made, so nobody asks for `Send`")]
pub trait Source {
    /// How many lanes of batches there are, which are worked on side by side.
    fn lanes(&self) -> usize;

    /// The next batch of a lane; none once reading has ended. Dropping the future loses nothing.
    async fn batch(&self, lane: usize) -> Option<Batch>;

    /// What there is to heed beside the batches. Dropping the future loses nothing.
    async fn notice(&self) -> Option<Notice>;

    fn leases(&self) -> &Leases;

    /// Counts what was read and let go, to the end of [`Self::close`].
    fn progress(&self) -> &Arc<ReadProgress>;

    /// Asks where these partitions, which have no checkpoint, would start.
    fn locate(&self, leases: Vec<Lease>);

    /// Starts reading at these checkpoints; leases that have ended are passed over.
    fn start_reading(&self, starts: Vec<(Lease, Checkpoint)>);

    /// Grants these partitions anew, if they are still assigned: they will be read from their checkpoints again.
    fn restart(&self, partitions: Vec<TopicPartition>);

    /// Keeps the records of events before these offsets, from the next time on that reading starts there.
    fn keep_records(&self, before: Vec<(TopicPartition, NextOffset)>);

    /// Decodes like that from now on, with the record of every event kept or not, and grants every partition anew.
    fn renew(&self, decoder: Decoder, keep_records: bool);

    /// Lets the group's committed offsets follow the checkpoints.
    fn commit(&self, committed: Committed);

    /// Leaves the group, and waits until that is done.
    async fn close(self) -> Result<(), StreamError>;
}

impl Source for Consumer {
    fn lanes(&self) -> usize {
        self.lanes()
    }

    async fn batch(&self, lane: usize) -> Option<Batch> {
        self.batch(lane).await
    }

    async fn notice(&self) -> Option<Notice> {
        self.notice().await
    }

    fn leases(&self) -> &Leases {
        &self.leases
    }

    fn progress(&self) -> &Arc<ReadProgress> {
        &self.progress
    }

    fn locate(&self, leases: Vec<Lease>) {
        self.locate(leases);
    }

    fn start_reading(&self, starts: Vec<(Lease, Checkpoint)>) {
        self.start_reading(starts);
    }

    fn restart(&self, partitions: Vec<TopicPartition>) {
        self.restart(partitions);
    }

    fn keep_records(&self, before: Vec<(TopicPartition, NextOffset)>) {
        self.keep_records(before);
    }

    fn renew(&self, decoder: Decoder, keep_records: bool) {
        self.renew(decoder, keep_records);
    }

    fn commit(&self, committed: Committed) {
        self.commit(committed);
    }

    async fn close(self) -> Result<(), StreamError> {
        self.close().await
    }
}
