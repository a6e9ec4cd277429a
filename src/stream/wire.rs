//! librdkafka's message, as we look at it and as we keep it.

use rdkafka::{Message, Timestamp, message::BorrowedMessage};

use crate::{
    event::{RecordTimestamp, WireRecord},
    record::{self, Record},
};

use super::headers;

/// What decoding looks at, where it lies.
pub(super) fn borrowed<'m>(message: &'m BorrowedMessage<'_>) -> WireRecord<'m> {
    WireRecord { value: message.payload(), kind_header: kind_header(message), timestamp: timestamp(message) }
}

/// As in [`WireRecord`]. librdkafka takes the headers apart when it is first asked, which most records don't need.
pub(super) fn kind_header<'m>(message: &'m BorrowedMessage<'_>) -> Option<Option<&'m [u8]>> {
    let of_kind = headers::of(message).filter(|(name, _)| *name == record::KIND_HEADER);
    of_kind.last().map(|(_, value)| value)
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
