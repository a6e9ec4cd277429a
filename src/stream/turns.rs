//! The queues of the partitions that are read, and their turns. Whose turn it is, [`order`](super::order) says.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, base_consumer::PartitionQueue},
    error::{KafkaError, KafkaResult},
    message::BorrowedMessage,
};

use crate::{event::RecordTimestamp, record::TopicPartition};

use super::{
    order::{Awaited, By, Place, SHARE, passed_over, short_turn, whose_turn},
    patience::{Behind, Supply},
    rebalance::Callbacks,
};

/// A queue for each partition that is read.
#[derive(Default)]
pub(super) struct Queues {
    queues: HashMap<TopicPartition, Queue>,
    /// How many records were taken of all of them.
    taken: u64,
    /// How many there were when one that was passed over last had a turn.
    shared_at: u64,
}

/// What librdkafka has fetched of one partition.
pub(super) struct Queue {
    messages: PartitionQueue<Callbacks>,
    /// False where nothing waits. librdkafka's threads set it, and the polling thread clears it.
    waiting: Arc<AtomicBool>,
    supply: Supply,
    place: Place,
}

/// One partition's turn to be read.
#[must_use]
pub(super) struct Turn<'q> {
    pub(super) partition: &'q TopicPartition,
    queue: &'q mut Queue,
    by: By,
    /// How many records a short turn has here.
    short: usize,
    taken: usize,
    behind: Behind,
    taken_of_all: &'q mut u64,
}

impl Queues {
    /// Keeps a partition's messages apart from the others'. From before it is assigned, else its first ones come with
    /// all others'. `reader` is woken when there are some.
    pub(super) fn open(
        &mut self,
        consumer: &Arc<BaseConsumer<Callbacks>>,
        partition: &TopicPartition,
        reader: &Thread,
    ) {
        // One that is dropped later would take its successor's callback away.
        self.close(partition);
        let Some(mut messages) = consumer.split_partition_queue(&partition.topic, partition.partition) else {
            // They come with all others', then.
            tracing::debug!(%partition, "librdkafka has no queue for it");
            return;
        };
        // There may be some already.
        let waiting = Arc::new(AtomicBool::new(true));
        let (arrived, reader) = (Arc::clone(&waiting), reader.clone());
        messages.set_nonempty_callback(move || {
            arrived.store(true, Ordering::Release);
            reader.unpark();
        });
        let place = Place { read_to: None, last_turn: Instant::now(), taken_then: self.taken };
        self.queues.insert(partition.clone(), Queue { messages, waiting, supply: Supply::default(), place });
    }

    /// After the partition was given up.
    pub(super) fn close(&mut self, partition: &TopicPartition) {
        if let Some(queue) = self.queues.remove(partition) {
            // What it still holds is void, and librdkafka lets go of it when it is asked for the next message.
            let _ = queue.take();
        }
    }

    /// Whether messages of it may have been fetched that nobody has taken.
    pub(super) fn is_waiting(&self, partition: &TopicPartition) -> bool {
        self.queues.get(partition).is_some_and(Queue::is_waiting)
    }

    /// Whether everything was taken of it that there was when its broker was asked last.
    pub(super) fn is_at_end(&self, partition: &TopicPartition) -> bool {
        self.queues.get(partition).is_some_and(|queue| queue.supply.is_at_end() && !queue.is_waiting())
    }

    /// After reading was told to go on somewhere else.
    pub(super) fn moved(&mut self, partition: &TopicPartition) {
        if let Some(queue) = self.queues.get_mut(partition) {
            queue.supply.moved();
        }
    }

    /// Nobody is to wait for it: it isn't fetched any more.
    pub(super) fn finished(&mut self, partition: &TopicPartition) {
        if let Some(queue) = self.queues.get_mut(partition) {
            queue.supply.finished();
        }
    }

    /// Asks all of them at their next turns, as if something had come.
    pub(super) fn ask_all(&self) {
        self.queues.values().for_each(|queue| queue.waiting.store(true, Ordering::Release));
    }

    /// The one whose turn it is; none where nothing waits, or what waits has to let another one go first that is still
    /// being fetched. `is_busy` says that the pipeline has enough to do.
    pub(super) fn next(&mut self, is_busy: bool) -> Option<Turn<'_>> {
        let now = Instant::now();
        let awaited = self.awaited(is_busy, now);
        let short = short_turn(self.queues.len());
        let passed_over = self.passed_over();
        let waiting = self.queues.iter_mut().filter(|(_, queue)| queue.is_waiting());
        let places = waiting.map(|(partition, queue)| (partition.partition, queue.place, (partition, queue)));
        let ((partition, queue), by) = whose_turn(places, awaited.as_ref(), passed_over, now)?;
        if by == By::Share {
            self.shared_at = self.taken;
        }
        Some(Turn { partition, queue, by, short, taken: 0, behind: Behind::Perhaps, taken_of_all: &mut self.taken })
    }

    /// If a turn may go to one that was passed over: by its last turn, when there were as many records or fewer.
    fn passed_over(&self) -> Option<u64> {
        if self.taken < self.shared_at + SHARE {
            return None;
        }
        passed_over(self.taken, self.queues.values().filter(|queue| queue.is_waiting()).count())
    }

    /// The partitions of which something should come soon.
    fn awaited(&self, is_busy: bool, now: Instant) -> Option<Awaited> {
        let is_expected = |(_, queue): &(&TopicPartition, &Queue)| {
            // Without timestamps nobody knows whether it is behind.
            let is_comparable = queue.place.read_to.is_some() || !queue.supply.has_begun();
            is_comparable && !queue.is_waiting() && queue.supply.is_expected(is_busy, now)
        };
        let expected = self.queues.iter().filter(is_expected);
        Awaited::of(expected.map(|(partition, queue)| (partition.partition, queue.place.read_to)))
    }
}

impl Queue {
    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// The next message, if there is one.
    fn take(&self) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        // It is cleared first, so that what comes during the question sets it again.
        self.waiting.store(false, Ordering::Release);
        let message = self.messages.poll(Duration::ZERO);
        if message.is_some() {
            self.waiting.store(true, Ordering::Release);
        }
        message
    }
}

impl Turn<'_> {
    /// The next message, if there is one and the turn isn't over. `read_to` is the time of the last record before.
    pub(super) fn take(&mut self, read_to: Option<RecordTimestamp>) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        let is_first = self.queue.place.read_to.is_none();
        if self.by.is_over(is_first, self.taken, self.short, read_to) {
            return None;
        }
        let mut without_message = Behind::Nothing;
        let message = loop {
            match self.queue.take() {
                Some(Err(KafkaError::PartitionEOF(_))) => without_message = Behind::EndOfLog,
                message => break message,
            }
        };
        self.behind = if message.is_some() { Behind::Perhaps } else { without_message };
        self.taken += usize::from(message.is_some());
        message
    }

    /// Lets the others go first until something comes.
    pub(super) fn pass_over(self) {
        self.queue.waiting.store(false, Ordering::Release);
    }

    /// `read_to` is the time of the last record.
    pub(super) fn end(self, read_to: Option<RecordTimestamp>) {
        let now = Instant::now();
        self.queue.supply.took(self.taken, self.behind, now);
        if self.taken > 0 {
            *self.taken_of_all += self.taken as u64;
            self.queue.place = Place { read_to, last_turn: now, taken_then: *self.taken_of_all };
        }
    }
}
