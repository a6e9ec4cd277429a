//! A Kafka record as it was read, and where it stands in the log.

mod offset;

pub use offset::{NextOffset, RecordOffset, TopicPartition};

use crate::event::{RecordTimestamp, WireRecord};

/// The header that names an event's kind.
pub(crate) const KIND_HEADER: &[u8] = b"event_type";

/// A record, whole: what a dead letter keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// None for a null value, which is not an empty one.
    pub value: Option<Box<[u8]>>,
    pub key: Option<Box<[u8]>>,
    pub headers: Vec<Header>,
    pub timestamp: Option<RecordTimestamp>,
}

/// A header as it was sent: neither its name nor its value needs to be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub key: Box<[u8]>,
    pub value: Option<Box<[u8]>>,
}

impl Record {
    /// What decoding looks at.
    pub fn wire(&self) -> WireRecord<'_> {
        let kind = self.headers.iter().rev().find(|header| *header.key == *KIND_HEADER);
        WireRecord {
            value: self.value.as_deref(),
            kind_header: kind.map(|header| header.value.as_deref()),
            timestamp: self.timestamp,
        }
    }

    /// About how much memory the record takes, in bytes. An empty header is two on the wire, but more here.
    pub fn bytes(&self) -> usize {
        let headers =
            self.headers.iter().map(|header| size_of::<Header>() + header.key.len() + length(header.value.as_deref()));
        length(self.value.as_deref()) + length(self.key.as_deref()) + headers.sum::<usize>()
    }
}

fn length(part: Option<&[u8]>) -> usize {
    part.map_or(0, <[u8]>::len)
}
