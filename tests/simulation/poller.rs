//! A member's consumer: it reads the logs, hands over batches, and obeys the pipeline as the real polling thread does.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use sessionfold::{
    event::Decoder,
    pipeline::Source,
    record::{NextOffset, RecordOffset, TopicPartition},
    store::{Checkpoint, Committed},
    stream::{Batch, Content, Item, Lease, Leases, Notice, ReadProgress, Slice, StreamError},
};

use crate::{broker::Broker, trace::Trace};

/// How many batches are worked on side by side.
const LANES: usize = 2;

/// How many batches of a lane wait for the pipeline at most: one in the channel, one that is being filled.
const ROOM: usize = 2;

struct Reading {
    lease: Lease,
    position: NextOffset,
    /// The latest that is known, and whether Kafka was told of it.
    checkpoint: Checkpoint,
    is_told: bool,
    /// Waiting for the checkpoint to be read anew.
    suspended: bool,
    /// The records of events before it are kept.
    kept_before: NextOffset,
}

/// What the pipeline told, in order.
enum Command {
    Locate(Vec<Lease>),
    Start(Vec<(Lease, Checkpoint)>),
    Restart(Vec<TopicPartition>),
    KeepRecords(Vec<(TopicPartition, NextOffset)>),
    Commit(Committed),
}

pub struct Poller {
    member: usize,
    broker: Rc<RefCell<Broker>>,
    pub leases: Arc<Leases>,
    pub progress: Arc<ReadProgress>,
    readings: BTreeMap<TopicPartition, Reading>,
    kept_before: BTreeMap<TopicPartition, NextOffset>,
    notices: VecDeque<Notice>,
    /// By lane.
    batches: [VecDeque<Batch>; LANES],
    commands: VecDeque<Command>,
    stopping: bool,
    trace: Trace,
}

impl Poller {
    pub fn new(member: usize, broker: Rc<RefCell<Broker>>, trace: Trace) -> Self {
        Self {
            member,
            broker,
            leases: Arc::default(),
            progress: Arc::default(),
            readings: BTreeMap::new(),
            kept_before: BTreeMap::new(),
            notices: VecDeque::new(),
            batches: Default::default(),
            commands: VecDeque::new(),
            stopping: false,
            trace,
        }
    }

    /// The group gives a partition to this member.
    pub fn grant(&mut self, partition: TopicPartition) {
        let leases = self.leases.grant([partition]);
        self.notices.push_back(Notice::Granted(leases));
    }

    /// This member learns that a partition isn't its own any more.
    pub fn revoke(&mut self, partition: &TopicPartition) {
        self.leases.end(std::slice::from_ref(partition), Duration::ZERO);
        self.readings.remove(partition);
        self.kept_before.remove(partition);
    }

    /// Stops reading; what was read is still handed over.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether nothing is under way between this and the pipeline.
    pub fn is_idle(&self) -> bool {
        self.notices.is_empty() && self.batches.iter().all(VecDeque::is_empty) && self.commands.is_empty()
    }

    pub fn obey(&mut self) {
        while let Some(command) = self.commands.pop_front() {
            match command {
                Command::Locate(leases) => self.locate(leases),
                Command::Start(starts) => self.start(starts),
                Command::Restart(partitions) => self.restart(&partitions),
                Command::KeepRecords(before) => self.kept_before.extend(before),
                Command::Commit(committed) => self.commit(&committed),
            }
        }
    }

    fn locate(&mut self, leases: Vec<Lease>) {
        let broker = self.broker.borrow();
        let start = |lease: &Lease| broker.committed(lease.partition()).unwrap_or(NextOffset::new(0));
        let starts = leases.into_iter().map(|lease| {
            let next = start(&lease);
            (lease, next)
        });
        self.notices.push_back(Notice::Located(starts.collect()));
    }

    fn start(&mut self, starts: Vec<(Lease, Checkpoint)>) {
        for (lease, checkpoint) in starts {
            if self.leases.is_current(&lease) {
                let (partition, position) = (lease.partition().clone(), checkpoint.next());
                self.trace.note(format!("    member {}: reads {partition} from {position}", self.member));
                let kept_before = self.kept_before.get(&partition).copied().unwrap_or(NextOffset::new(0));
                self.readings.insert(
                    partition,
                    Reading { lease, position, checkpoint, is_told: false, suspended: false, kept_before },
                );
            }
        }
    }

    fn restart(&mut self, partitions: &[TopicPartition]) {
        let mut assigned = Vec::new();
        for partition in partitions {
            if let Some(reading) = self.readings.get_mut(partition) {
                reading.suspended = true;
                assigned.push(partition.clone());
            }
        }
        if !assigned.is_empty() {
            let leases = self.leases.grant(assigned);
            self.notices.push_back(Notice::Granted(leases));
        }
    }

    fn commit(&mut self, committed: &Committed) {
        for checkpoint in committed.checkpoints() {
            if let Some(reading) = self.readings.get_mut(checkpoint.partition()) {
                (reading.checkpoint, reading.is_told) = (checkpoint.clone(), true);
                self.broker.borrow_mut().commit(self.member, checkpoint.partition(), checkpoint.next());
            }
        }
    }

    /// Tells Kafka of checkpoints behind which nothing lies.
    fn commit_untold(&mut self) {
        let mut broker = self.broker.borrow_mut();
        for (partition, reading) in &mut self.readings {
            let next = reading.checkpoint.next();
            if !reading.is_told && reading.position == next && broker.read(partition, next).is_none() {
                broker.commit(self.member, partition, next);
                reading.is_told = true;
            }
        }
    }

    /// Reads up to so many records of each partition, in turns, and hands them over as a batch a lane.
    pub fn read(&mut self, counts: &[u8]) {
        self.commit_untold();
        for lane in 0..LANES {
            if !self.stopping && self.batches[lane].len() < ROOM {
                self.read_lane(lane, counts);
            }
        }
    }

    fn read_lane(&mut self, lane: usize, counts: &[u8]) {
        let broker = Rc::clone(&self.broker);
        let broker = broker.borrow();
        let (mut slices, mut items) = (Vec::<Slice>::new(), Vec::<Item>::new());
        let most = counts.iter().copied().max().unwrap_or(0);
        for round in 0..most {
            for (partition, reading) in &mut self.readings {
                let number = crate::broker::number_of(partition);
                if number % LANES != lane || reading.suspended || round >= counts[number] {
                    continue;
                }
                let Some((record, decoded)) = broker.read(partition, reading.position) else { continue };
                let known = slices.iter().position(|slice| slice.lease == reading.lease);
                let slice = known.unwrap_or_else(|| {
                    slices.push(Slice { lease: reading.lease.clone(), expected: reading.position });
                    slices.len() - 1
                });
                let offset = RecordOffset::new(reading.position.get());
                let (bytes, timestamp) = (record.bytes(), record.timestamp);
                let content = Content::of(decoded, reading.kept_before.is_past(offset), || record);
                items.push(Item { slice, offset, timestamp, bytes, content });
                reading.position = offset.next();
                self.progress.add_read();
            }
        }
        if !items.is_empty() {
            self.trace.note(format!("    member {}: hands over {} records in lane {lane}", self.member, items.len()));
            self.batches[lane].push_back(Batch::new(slices, items));
        }
    }
}

/// The pipeline's end of it.
pub struct Reader {
    pub leases: Arc<Leases>,
    pub progress: Arc<ReadProgress>,
    pub poller: Rc<RefCell<Poller>>,
}

impl Reader {
    pub fn new(poller: Rc<RefCell<Poller>>) -> Self {
        let (leases, progress) = {
            let poller = poller.borrow();
            (Arc::clone(&poller.leases), Arc::clone(&poller.progress))
        };
        Self { leases, progress, poller }
    }

    fn tell(&self, command: Command) {
        self.poller.borrow_mut().commands.push_back(command);
    }
}

impl Source for Reader {
    fn renew(&self, _: Decoder, _: bool) {
        unreachable!("nothing is promoted here");
    }

    fn keep_records(&self, before: Vec<(TopicPartition, NextOffset)>) {
        self.tell(Command::KeepRecords(before));
    }

    fn lanes(&self) -> usize {
        LANES
    }

    async fn batch(&self, lane: usize) -> Option<Batch> {
        poll_fn(|_| {
            let mut poller = self.poller.borrow_mut();
            match poller.batches[lane].pop_front() {
                Some(batch) => Poll::Ready(Some(batch)),
                None if poller.stopping => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    async fn notice(&self) -> Option<Notice> {
        poll_fn(|_| {
            self.poller.borrow_mut().notices.pop_front().map_or(Poll::Pending, |notice| Poll::Ready(Some(notice)))
        })
        .await
    }

    fn leases(&self) -> &Leases {
        &self.leases
    }

    fn progress(&self) -> &Arc<ReadProgress> {
        &self.progress
    }

    fn locate(&self, leases: Vec<Lease>) {
        self.tell(Command::Locate(leases));
    }

    fn start_reading(&self, starts: Vec<(Lease, Checkpoint)>) {
        self.tell(Command::Start(starts));
    }

    fn restart(&self, partitions: Vec<TopicPartition>) {
        self.tell(Command::Restart(partitions));
    }

    fn commit(&self, committed: Committed) {
        self.tell(Command::Commit(committed));
    }

    async fn close(self) -> Result<(), StreamError> {
        self.poller.borrow_mut().obey();
        Ok(())
    }
}
