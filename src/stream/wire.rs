//! librdkafka's message, as we look at it and as we keep it.

use rdkafka::{Message, Timestamp, message::BorrowedMessage};

use crate::{
    event::{RecordTimestamp, WireRecord},
    record::{self, Record},
};

use super::headers;

/// What decoding looks at, where it lies: most records need no copy. And how many bytes a copy takes or would take, as
/// [`Record::bytes`] says it.
pub(super) fn borrowed<'m>(message: &'m BorrowedMessage<'_>) -> (WireRecord<'m>, usize) {
    let (mut kind_header, mut bytes) = (None, message.payload_len() + message.key_len());
    for (name, value) in headers::of(message) {
        bytes += record::header_bytes(name, value);
        if name == record::KIND_HEADER {
            kind_header = Some(value);
        }
    }
    (WireRecord { value: message.payload(), kind_header, timestamp: timestamp(message) }, bytes)
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

pub(super) fn timestamp(message: &BorrowedMessage<'_>) -> Option<RecordTimestamp> {
    match message.timestamp() {
        Timestamp::NotAvailable => None,
        Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => RecordTimestamp::from_millis(millis),
    }
}
