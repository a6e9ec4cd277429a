//! The handle on the polling thread: what it tells the pipeline, and what the pipeline tells it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
};

use tokio::sync::{Mutex, mpsc, watch};

use crate::{
    event::Decoder,
    record::{NextOffset, TopicPartition},
    store::{Checkpoint, Committed},
};

use super::{
    batch::Batch,
    error::StreamError,
    lanes::Lanes,
    lease::{Lease, Leases},
    messages::{Command, Notice},
    options::ConsumerOptions,
    poller::Poller,
    progress::ReadProgress,
};

/// Tells the polling thread to stop reading. What was read is still handed over and committed.
#[derive(Clone, Debug, Default)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether reading was told to stop, by whomever.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A consumer of a group, polled by a thread of its own.
///
/// Batches end (their channels close) when reading has stopped or the log was drained; the member stays in the group
/// until [`Self::close`].
#[derive(Debug)]
pub struct Consumer {
    lanes: Vec<Mutex<mpsc::Receiver<Batch>>>,
    notices: Mutex<mpsc::UnboundedReceiver<Notice>>,
    pub leases: Arc<Leases>,
    pub progress: Arc<ReadProgress>,
    commands: Sender<Command>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    departure: Departure,
}

/// The end of a polling thread, and with it of its membership in the group.
#[derive(Clone, Debug)]
pub struct Departure(watch::Receiver<()>);

impl Departure {
    /// Returns when the thread has ended.
    pub async fn happened(mut self) {
        // Nothing is ever sent: it closes.
        while self.0.changed().await.is_ok() {}
    }
}

impl Consumer {
    /// Joins the group and starts polling.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration, or the thread can't be started.
    pub fn start(options: ConsumerOptions) -> Result<Self, StreamError> {
        let (lanes, batches) = Lanes::open(options.limits, options.lanes, options.connections);
        let (notice_sender, notices) = mpsc::unbounded_channel();
        let (commands, command_receiver) = channel();
        let (leases, progress) = (Arc::new(Leases::default()), Arc::clone(&options.progress));
        let (presence, departed) = watch::channel(());
        let stop = Arc::new(AtomicBool::new(false));
        let poller = Poller::new(
            options,
            lanes,
            notice_sender,
            command_receiver,
            Arc::clone(&leases),
            Arc::clone(&progress),
            Arc::clone(&stop),
        )?;
        let thread = std::thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || {
                // Dropped at its end, however it ends.
                let _presence = presence;
                poller.run();
            })
            .map_err(StreamError::Thread)?;
        let lanes = batches.into_iter().map(Mutex::new).collect();
        let departure = Departure(departed);
        Ok(Self { lanes, notices: Mutex::new(notices), leases, progress, commands, stop, thread, departure })
    }

    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// By which to know, also when the consumer was dropped, that it has left the group.
    pub fn departure(&self) -> Departure {
        self.departure.clone()
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The next batch of a lane; none once reading has ended. Dropping the future loses nothing.
    pub async fn batch(&self, lane: usize) -> Option<Batch> {
        self.lanes[lane].lock().await.recv().await
    }

    /// What the polling thread has to say next. Dropping the future loses nothing.
    pub async fn notice(&self) -> Option<Notice> {
        self.notices.lock().await.recv().await
    }

    /// Asks Kafka where these partitions, which have no checkpoint, would start.
    pub fn locate(&self, leases: Vec<Lease>) {
        self.tell(Command::Locate(leases));
    }

    /// Starts reading at these checkpoints; leases that have ended are passed over.
    pub fn start_reading(&self, starts: Vec<(Lease, Checkpoint)>) {
        self.tell(Command::Start(starts));
    }

    /// Grants these partitions anew, if they are still assigned: they will be read from their checkpoints again.
    pub fn restart(&self, partitions: Vec<TopicPartition>) {
        self.tell(Command::Restart(partitions));
    }

    /// Keeps the records of events before these offsets, from the next time on that reading starts there.
    pub fn keep_records(&self, before: Vec<(TopicPartition, NextOffset)>) {
        self.tell(Command::KeepRecords(before));
    }

    /// Decodes like that from now on, with the record of every event kept or not, and grants every partition anew: what
    /// is not committed is read again.
    pub fn renew(&self, decoder: Decoder, keep_records: bool) {
        self.tell(Command::Renew { decoder, keep_records });
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
        let Self { thread, lanes, notices, .. } = self;
        // What the thread still hands over has nobody to take it.
        drop((lanes, notices));
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
