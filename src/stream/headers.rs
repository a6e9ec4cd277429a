//! Headers as bytes. The crate's own accessor panics where a header's name is not UTF-8, which any producer can send.

use std::ffi::CStr;

use rdkafka::{bindings, message::BorrowedMessage, types::RDKafkaRespErr};

use crate::record::Header;

/// A header that lies in the message: its name, and its value, which may be null.
type BorrowedHeader<'m> = (&'m [u8], Option<&'m [u8]>);

/// A copy of the headers of a message, in their order.
pub(super) fn copied(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let copied = |(name, value): BorrowedHeader<'_>| Header { key: name.into(), value: value.map(Into::into) };
    of(message).map(copied).collect()
}

/// The headers of a message, in their order.
#[expect(unsafe_code, reason = "librdkafka's own functions are the only way to a name that is not UTF-8")]
pub(super) fn of<'m>(message: &'m BorrowedMessage<'_>) -> impl Iterator<Item = BorrowedHeader<'m>> {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the message is valid while it is borrowed; librdkafka writes the pointer only on success.
    let found = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    let is_there = found == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && !headers.is_null();
    // SAFETY: `headers` belongs to the message.
    let count = if is_there { unsafe { bindings::rd_kafka_header_cnt(headers) } } else { 0 };
    let header_at = move |index: usize| {
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: as above; the three places are ours.
        let error =
            unsafe { bindings::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size) };
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: on success the name is a C string and the value, unless null, has `size` bytes; both live as long as
        // the message.
        let header = unsafe {
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            (CStr::from_ptr(name).to_bytes(), value)
        };
        Some(header)
    };
    (0..count).map_while(header_at)
}
