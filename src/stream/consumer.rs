//! The handle on the polling thread: what it tells the pipeline, and what the pipeline tells it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
};

use tokio::sync::mpsc;

use crate::{
    record::{NextOffset, TopicPartition},
    store::Committed,
};

use super::{
    batch::Batch,
    error::StreamError,
    lease::{Lease, Leases},
    messages::{Command, Input, Notice},
    options::ConsumerOptions,
    poller::Poller,
    progress::ReadProgress,
};

/// Tells the polling thread to stop reading. What was read is still handed over and committed.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A consumer of a group, polled by a thread of its own.
///
/// Batches end (their channel closes) when reading has stopped or the log was drained; the member stays in the group
/// until [`Self::close`].
#[derive(Debug)]
pub struct Consumer {
    batches: mpsc::Receiver<Batch>,
    notices: mpsc::UnboundedReceiver<Notice>,
    pub leases: Arc<Leases>,
    pub progress: Arc<ReadProgress>,
    commands: Sender<Command>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Consumer {
    /// Joins the group and starts polling.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration, or the thread can't be started.
    pub fn start(options: ConsumerOptions) -> Result<Self, StreamError> {
        // One batch waits while another is worked on; a third is being filled. That bounds the memory.
        let (batch_sender, batches) = mpsc::channel(1);
        let (notice_sender, notices) = mpsc::unbounded_channel();
        let (commands, command_receiver) = channel();
        let (leases, progress) = (Arc::new(Leases::default()), Arc::new(ReadProgress::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let poller = Poller::new(
            options,
            batch_sender,
            notice_sender,
            command_receiver,
            Arc::clone(&leases),
            Arc::clone(&progress),
            Arc::clone(&stop),
        )?;
        let thread = std::thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || poller.run())
            .map_err(StreamError::Thread)?;
        Ok(Self { batches, notices, leases, progress, commands, stop, thread })
    }

    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// What comes next; none once reading has ended. Notices come first. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Input> {
        tokio::select! {
            biased;
            Some(notice) = self.notices.recv() => Some(Input::Notice(notice)),
            batch = self.batches.recv() => match batch {
                Some(batch) => Some(Input::Batch(batch)),
                None => self.last_word().map(Input::Notice),
            },
        }
    }

    /// What the polling thread said last must not be missed, least of all why it stopped.
    fn last_word(&mut self) -> Option<Notice> {
        std::iter::from_fn(|| self.notices.try_recv().ok())
            .find(|notice| matches!(notice, Notice::Halted(_) | Notice::Failed(_)))
    }

    /// Asks Kafka where these partitions, which have no checkpoint, would start.
    pub fn locate(&self, leases: Vec<Lease>) {
        self.tell(Command::Locate(leases));
    }

    /// Starts reading; leases that have ended are passed over.
    pub fn start_reading(&self, positions: Vec<(Lease, NextOffset)>) {
        self.tell(Command::Start(positions));
    }

    /// Grants these partitions anew, if they are still assigned: they will be read from their checkpoints again.
    pub fn restart(&self, partitions: Vec<TopicPartition>) {
        self.tell(Command::Restart(partitions));
    }

    /// Lets Kafka's committed offsets follow the checkpoints.
    pub fn commit(&self, committed: Committed) {
        self.tell(Command::Commit(committed));
    }

    /// Commits to Kafka what was committed to the store, leaves the group, and waits until that is done.
    ///
    /// # Errors
    /// If the polling thread panicked, now or before.
    pub async fn close(self) -> Result<(), StreamError> {
        self.tell(Command::Close);
        let Self { thread, batches, notices, .. } = self;
        // The thread may wait for room in a channel.
        drop((batches, notices));
        match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(StreamError::Panicked),
        }
    }

    fn tell(&self, command: Command) {
        // The thread is gone only after it failed, which it has said.
        let _ = self.commands.send(command);
    }
}
