//! The polling thread. It alone talks to librdkafka, and never waits for the database: with the pipeline at its limit
//! it pauses the partitions and goes on polling, so that the group doesn't evict this member.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    config::KafkaConfig,
    record::{NextOffset, TopicPartition},
    store::Checkpoint,
};

use super::{
    alarm::Alarm,
    error::StreamError,
    group_drain::GroupDrain,
    intake::Intake,
    lanes::{HandOver, Lanes},
    lease::Leases,
    member,
    messages::{Command, Notice},
    options::{ConsumerOptions, Membership, Until},
    pace::Pace,
    progress::ReadProgress,
    reading::Reading,
    rebalance::Callbacks,
    turns::Queues,
};

/// How long a turn waits for a record, and so how long a command or a rebalance may wait for its own.
const POLL: Duration = Duration::from_millis(20);
const LEAST_POLL: Duration = Duration::from_millis(2);
/// How many records are taken in one round.
const BURST: usize = 64;
/// How often a full batch asks whether there is room.
const FULL: Duration = Duration::from_micros(300);
/// A full pipeline is waited for this long before partitions are paused: pausing throws away what was fetched ahead.
const PAUSE_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Poller {
    pub(super) consumer: Arc<BaseConsumer<Callbacks>>,
    /// Their messages borrow the consumer, which lives as long as one of them.
    pub(super) queues: Queues,
    pub(super) intake: Intake,
    until: Until,
    /// The group, whose offsets follow the checkpoints. None where there is none.
    pub(super) group: Option<KafkaConfig>,
    /// Begun where a drain has read its own partitions, and others have some, too.
    pub(super) group_drain: Option<GroupDrain>,
    /// Before which offset the records of events are kept anyway.
    pub(super) kept_before: HashMap<TopicPartition, NextOffset>,
    /// Where reading ends, where it isn't the log's end.
    pub(super) ends: HashMap<TopicPartition, NextOffset>,
    /// In bytes, of each partition.
    pub(super) most_fetched_ahead: u64,
    pace: Option<Pace>,
    /// The pace kept records waiting since the last statistics.
    pub(super) held_back: bool,
    pub(super) lanes: Lanes,
    pub(super) readings: HashMap<TopicPartition, Reading>,
    notices: UnboundedSender<Notice>,
    commands: Receiver<Command>,
    pub(super) leases: Arc<Leases>,
    pub(super) progress: Arc<ReadProgress>,
    stop: Arc<AtomicBool>,
    /// Since when a full batch has been waiting for room.
    blocked_since: Option<Instant>,
    pub(super) paused: bool,
    pub(super) refused_starts: u32,
    /// A partition was called out of range, and it isn't known yet which.
    pub(super) alarm: Option<Alarm>,
    /// When a partition was called out of range and none was.
    pub(super) false_alarms: Vec<Instant>,
    closing: bool,
}

impl Poller {
    pub(super) fn new(
        options: ConsumerOptions,
        lanes: Lanes,
        notices: UnboundedSender<Notice>,
        commands: Receiver<Command>,
        leases: Arc<Leases>,
        progress: Arc<ReadProgress>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, StreamError> {
        let callbacks = Callbacks::new(Arc::clone(&leases), notices.clone());
        let consumer = Arc::new(member::join(&options, callbacks)?);
        let most_fetched_ahead = member::most_fetched_ahead(&options.kafka);
        let (group, ranges) = match options.membership {
            Membership::Group => (Some(options.kafka), Vec::new()),
            Membership::Alone(ranges) => (None, ranges),
        };
        Ok(Self {
            consumer,
            queues: Queues::default(),
            intake: Intake::new(options.decoder, options.keep_records, Arc::clone(&progress)),
            until: options.until,
            group,
            group_drain: None,
            kept_before: HashMap::new(),
            ends: ranges.into_iter().map(|range| (range.partition, range.to)).collect(),
            most_fetched_ahead,
            pace: options.rate.map(Pace::new),
            held_back: false,
            lanes,
            readings: HashMap::new(),
            notices,
            commands,
            leases,
            progress,
            stop,
            blocked_since: None,
            paused: false,
            refused_starts: 0,
            alarm: None,
            false_alarms: Vec::new(),
            closing: false,
        })
    }

    pub(super) fn run(mut self) {
        while !self.closing && !self.is_done_reading() {
            self.turn(true);
        }
        // What was read is handed over before the channel closes. With nobody to take it, it is read again later.
        while !self.closing && !self.lanes.is_empty() {
            self.turn(false);
        }
        // It no longer stands still: it has ended.
        self.progress.set_paused(false);
        self.lanes.close();
        while !self.closing {
            self.turn(false);
        }
        self.leave();
    }

    fn is_done_reading(&mut self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || (self.until == Until::Drained
                && (self.is_drained() && self.may_leave_the_group() || self.needs_no_answer()))
    }

    /// The group has answered, and everything that it gave us was read to its end and committed.
    fn is_drained(&mut self) -> bool {
        if !self.lanes.is_empty() || !self.lanes.is_nothing_in_flight() {
            return false;
        }
        // A batch may have ended in a fence, by which its partitions start anew: that is heard before the end is judged.
        self.obey_commands();
        self.alarm.is_none()
            && self.consumer.context().granted() == Some(self.readings.len())
            && self.readings.values().all(|reading| reading.is_halted() || reading.is_at_end())
    }

    /// One round: commands, one poll, and what follows from it.
    fn turn(&mut self, reading: bool) {
        self.progress.beat();
        self.obey_commands();
        if !reading && !self.paused {
            self.stop_fetching();
        } else if reading && self.paused && !self.lanes.is_full() {
            // The full batch was handed over, or let go of.
            self.resume();
        }
        if self.hand_over_if_due(!reading || self.needs_no_company()) || self.paused {
            self.poll();
        } else {
            // A full batch waits for room, and hasn't for long.
            std::thread::sleep(FULL);
        }
    }

    /// Whether a drain has taken what there was when the brokers were asked last, so that nothing more is to come soon.
    fn needs_no_company(&self) -> bool {
        let is_taken = |(partition, reading): (_, &Reading)| !reading.is_fetched() || self.queues.is_at_end(partition);
        self.until == Until::Drained
            && self.readings.iter().all(is_taken)
            && self.consumer.context().granted() == Some(self.readings.len())
    }

    fn obey_commands(&mut self) {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => break,
                // The handle was dropped, so nobody will commit: the group should give the partitions to others.
                Err(TryRecvError::Disconnected) => {
                    self.closing = true;
                    break;
                }
            }
        }
    }

    fn poll(&mut self) {
        // A batch that is due and finds no room must not make the thread spin.
        let timeout = self.lanes.time_left().map_or(POLL, |left| left.clamp(LEAST_POLL, POLL));
        let mut came = self.serve_group();
        // Those that have piled up are old, but for the last.
        let mut statistics = None;
        while let Some(latest) = self.consumer.context().take_statistics() {
            statistics = Some(latest);
            came |= self.serve_group();
        }
        self.forget_revoked();
        // What was fetched already is taken in one go: what else there is to do in a turn takes time, too.
        let most = self.pace.as_mut().map_or(BURST, |pace| pace.allowed().min(BURST));
        if most == 0 {
            self.held_back = true;
            std::thread::sleep(timeout);
        } else if !self.take(most) && !came {
            // A record that has come meanwhile has left its mark, by which this returns at once.
            std::thread::park_timeout(timeout);
        }
        self.stop_fetching_what_is_finished();
        if let Some(statistics) = statistics {
            self.observe(&statistics);
            // Should librdkafka once not say that something has come, it is found all the same.
            self.queues.ask_all();
        }
    }

    /// Lets librdkafka tell of the group and of errors. Records come by the partitions' own queues, but for those of a
    /// topic that was missing and is there again. True where there was one.
    fn serve_group(&mut self) -> bool {
        match self.consumer.poll(Duration::ZERO) {
            Some(Ok(message)) => {
                let partition = TopicPartition::new(message.topic(), message.partition());
                if let Some(reading) = self.readings.get_mut(&partition) {
                    self.intake.receive(&message, reading, &mut self.lanes, Instant::now());
                }
                true
            }
            // Of a partition whose records come this way, too.
            Some(Err(KafkaError::PartitionEOF(_))) => true,
            Some(Err(error)) => {
                self.on_error(&error);
                false
            }
            None => false,
        }
    }

    /// Takes up to `most` records of the partitions whose turn it is. False where nothing waits.
    fn take(&mut self, most: usize) -> bool {
        let since = Instant::now();
        let (mut taken, mut error) = (0, None);
        let is_room = |lanes: &Lanes, taken| taken < most && (taken == 0 || !lanes.is_full());
        while error.is_none() && is_room(&self.lanes, taken) {
            let Some(mut turn) = self.queues.next(!self.lanes.is_nothing_in_flight()) else { break };
            let Some(reading) = self.readings.get_mut(turn.partition) else {
                // It could not be started yet.
                turn.pass_over();
                continue;
            };
            while is_room(&self.lanes, taken) {
                match turn.take(reading.last_record_at()) {
                    Some(Ok(message)) => {
                        self.intake.receive(&message, reading, &mut self.lanes, since);
                    }
                    Some(Err(refused)) => {
                        error = Some(refused);
                        break;
                    }
                    None => break,
                }
                taken += 1;
                if let Some(pace) = &mut self.pace {
                    pace.take();
                }
            }
            turn.end(reading.last_record_at());
        }
        if taken > 0 {
            self.progress.add_receiving_time(since.elapsed());
        }
        if let Some(error) = &error {
            self.on_error(error);
        }
        taken > 0 || error.is_some()
    }

    /// Hands over the batches that have to go. False while a full one must wait.
    fn hand_over_if_due(&mut self, last: bool) -> bool {
        match self.lanes.hand_over(last) {
            HandOver::Done => {
                self.blocked_since = None;
                true
            }
            HandOver::Blocked => {
                let since = *self.blocked_since.get_or_insert_with(Instant::now);
                if !self.paused && since.elapsed() >= PAUSE_AFTER {
                    self.pause();
                }
                false
            }
            HandOver::Closed => {
                self.closing = true;
                true
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Locate(leases) => self.locate(leases),
            Command::Start(starts) => self.start(starts),
            Command::Restart(partitions) => self.restart(&partitions),
            Command::KeepRecords(before) => self.keep_records_before(before),
            Command::Renew { decoder, keep_records } => self.renew(decoder, keep_records),
            Command::Commit(committed) => self.commit(committed.checkpoints()),
            Command::Close => self.closing = true,
        }
    }

    /// Kafka's offsets follow the checkpoints, without being waited for: where reading goes on doesn't depend on them. What
    /// Kafka refuses it is told again, if need be. Leaving the group waits for the answers that are still out.
    pub(super) fn commit(&mut self, checkpoints: &[Checkpoint]) {
        if self.group.is_none() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for checkpoint in checkpoints {
            let Some(reading) = self.readings.get_mut(checkpoint.partition()) else { continue };
            reading.tells(checkpoint.clone());
            let TopicPartition { topic, partition } = checkpoint.partition();
            // Refused only for an offset that no record can have.
            let _ = list.add_partition_offset(topic, *partition, Offset::Offset(checkpoint.next().get()));
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            self.consumer.context().refuse_offsets(&error);
        }
    }

    fn fetching(&self) -> TopicPartitionList {
        list(self.readings.iter().filter(|(_, reading)| reading.is_fetched()).map(|(partition, _)| partition))
    }

    /// What comes of a partition beyond its end is dropped, but had to be fetched.
    fn stop_fetching_what_is_finished(&mut self) {
        for (partition, reading) in &mut self.readings {
            if reading.stops_being_fetched() {
                self.queues.finished(partition);
                let _ = self.consumer.pause(&list([partition]));
            }
        }
    }

    /// The pipeline doesn't keep up.
    fn pause(&mut self) {
        self.stop_fetching();
        self.progress.set_paused(true);
    }

    pub(super) fn stop_fetching(&mut self) {
        // A partition that was taken away meanwhile can't be paused, and needn't be.
        let _ = self.consumer.pause(&self.fetching());
        if !self.paused {
            tracing::debug!("partitions paused");
        }
        self.paused = true;
    }

    fn resume(&mut self) {
        let _ = self.consumer.resume(&self.fetching());
        tracing::debug!("partitions resumed");
        self.blocked_since = None;
        self.paused = false;
        self.progress.set_paused(false);
    }

    fn on_error(&mut self, error: &KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(_) => self.fail(StreamError::Fatal(error.clone())),
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => self.sound_alarm(error),
            // librdkafka leaves such records out and would go on behind them.
            KafkaError::MessageConsumption(RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::NotImplemented) => {
                self.fail(StreamError::Unreadable(error.clone()));
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                tracing::warn!(%error, "a topic is missing; it is read once it is there");
            }
            // librdkafka connects again by itself.
            _ => tracing::debug!(%error, "polling"),
        }
    }

    pub(super) fn fail(&mut self, error: StreamError) {
        self.stop.store(true, Ordering::Relaxed);
        self.tell(Notice::Failed(error));
    }

    pub(super) fn tell(&self, notice: Notice) {
        // The pipeline is gone only when everything stops.
        let _ = self.notices.send(notice);
    }

    /// Dropping the consumer leaves the group. The queues hold it, too.
    fn leave(self) {
        self.progress.add_discarded(self.lanes.len());
        drop((self.queues, self.consumer));
    }
}

pub(super) fn list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}
