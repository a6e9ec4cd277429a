//! librdkafka's message, as we look at it and as we keep it.

use rdkafka::{Message, Timestamp, message::BorrowedMessage};

use crate::{
    event::{RecordTimestamp, WireRecord},
    record::{self, Record},
};

use super::headers;

/// What decoding looks at, where it lies: most records need no copy.
pub(super) fn borrowed<'m>(message: &'m BorrowedMessage<'_>) -> WireRecord<'m> {
    WireRecord {
        value: message.payload(),
        kind_header: headers::of(message)
            .filter(|(name, _)| *name == record::KIND_HEADER)
            .last()
            .map(|(_, value)| value),
        timestamp: timestamp(message),
    }
}

/// A copy of the message, whole.
pub(super) fn record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        value: message.payload().map(Into::into),
        key: message.key().map(Into::into),
        headers: headers::copied(message),
        timestamp: timestamp(message),
    }
}

/// As [`Record::bytes`] of the copy.
pub(super) fn bytes(message: &BorrowedMessage<'_>) -> usize {
    let headers = headers::of(message).map(|(name, value)| record::header_bytes(name, value));
    message.payload_len() + message.key_len() + headers.sum::<usize>()
}

pub(super) fn timestamp(message: &BorrowedMessage<'_>) -> Option<RecordTimestamp> {
    match message.timestamp() {
        Timestamp::NotAvailable => None,
        Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => RecordTimestamp::from_millis(millis),
    }
}
