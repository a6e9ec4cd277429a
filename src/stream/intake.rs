//! A message's way into the batch of its lane.

use std::{sync::Arc, time::Instant};

use rdkafka::{Message, message::BorrowedMessage};

use crate::{event::Decoder, record::RecordOffset};

use super::{
    batch::{Content, Item},
    lanes::Lanes,
    progress::ReadProgress,
    reading::Reading,
    wire,
};

/// Decodes messages and adds them to the batches of their lanes.
pub(super) struct Intake {
    decoder: Decoder,
    /// Whether the record of every event is kept.
    keep_records: bool,
    progress: Arc<ReadProgress>,
}

impl Intake {
    pub(super) fn new(decoder: Decoder, keep_records: bool, progress: Arc<ReadProgress>) -> Self {
        Self { decoder, keep_records, progress }
    }

    pub(super) fn use_settings(&mut self, decoder: Decoder, keep_records: bool) {
        (self.decoder, self.keep_records) = (decoder, keep_records);
    }

    /// Decodes a message and adds it to the batch, unless it was read before.
    pub(super) fn receive(
        &self,
        message: &BorrowedMessage<'_>,
        reading: &mut Reading,
        lanes: &mut Lanes,
        now: Instant,
    ) {
        let offset = RecordOffset::new(message.offset());
        if !reading.takes(offset) {
            reading.finish_if_behind_end(offset);
            return;
        }
        self.progress.add_read();
        let timestamp = wire::timestamp(message);
        let header = || wire::kind_header(message);
        let decoded = self.decoder.decode_finding_header(message.payload(), timestamp, header);
        let keep_record = self.keep_records || reading.keeps_record(offset);
        let content = Content::of(decoded, keep_record, || wire::record(message));
        let bytes = content.bytes(message.payload_len() + message.key_len());
        let item = |slice| Item { slice, offset, timestamp, bytes, content };
        lanes.batch(reading.lane()).push(reading.lease(), reading.position(), item);
        reading.advance(offset, timestamp, now);
    }
}
