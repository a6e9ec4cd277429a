//! librdkafka's message to a record of ours.

use rdkafka::{Message, Timestamp, message::BorrowedMessage};

use crate::{event::RecordTimestamp, record::Record};

use super::headers;

/// A copy of the message, whole.
pub(super) fn record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        value: message.payload().map(Into::into),
        key: message.key().map(Into::into),
        headers: headers::of(message),
        timestamp: match message.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => RecordTimestamp::from_millis(millis),
        },
    }
}
