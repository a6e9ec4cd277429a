//! The handle on the polling thread: what it tells the pipeline, and what the pipeline tells it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use tokio::sync::mpsc;

use crate::{
    config::KafkaConfig,
    event::Decoder,
    record::{NextOffset, TopicPartition},
    store::Committed,
};

use super::{
    batch::{Batch, BatchLimits},
    error::StreamError,
    lease::{Lease, Leases},
    poller::Poller,
};

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
    pub limits: BatchLimits,
    pub until: Until,
}

/// What the polling thread tells the pipeline, beside the batches.
#[derive(Debug)]
pub enum Notice {
    /// Partitions were granted; they are read once [`Command::Start`] says from where.
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
    Start(Vec<(Lease, NextOffset)>),
    Restart(Vec<TopicPartition>),
    Commit(Committed),
    Close,
}

/// How far reading came. Updated by the polling thread, read by anybody.
#[derive(Debug, Default)]
pub struct ReadProgress {
    read: AtomicU64,
    first_read_at: OnceLock<Instant>,
    discarded: AtomicU64,
    paused: AtomicBool,
    lag: Mutex<HashMap<TopicPartition, u64>>,
}

impl ReadProgress {
    /// Records taken from Kafka.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// When the first record came.
    pub fn first_read_at(&self) -> Option<Instant> {
        self.first_read_at.get().copied()
    }

    /// Records that were read and then let go, since their partition was taken away; whoever has it reads them again.
    pub fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    /// Whether fetching stands still because the pipeline can't keep up.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Records between the position and the end of the log, over all partitions; none before Kafka told the ends.
    pub fn lag(&self) -> Option<u64> {
        let lag = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        (!lag.is_empty()).then(|| lag.values().sum())
    }

    pub(super) fn add_read(&self) {
        self.first_read_at.get_or_init(Instant::now);
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_discarded(&self, records: u64) {
        self.discarded.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(super) fn set_lag(&self, lag: HashMap<TopicPartition, u64>) {
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = lag;
    }
}

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
    pub batches: mpsc::Receiver<Batch>,
    pub notices: mpsc::UnboundedReceiver<Notice>,
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
    pub async fn close(self) {
        self.tell(Command::Close);
        let Self { thread, batches, notices, .. } = self;
        // The thread may wait for room in a channel.
        drop((batches, notices));
        if tokio::task::spawn_blocking(move || thread.join()).await.is_err() {
            tracing::warn!("the polling thread was not waited for");
        }
    }

    fn tell(&self, command: Command) {
        // The thread is gone only after it failed, which it has said.
        let _ = self.commands.send(command);
    }
}
