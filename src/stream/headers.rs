//! Headers as bytes. The crate's own accessor panics where a header's name is not UTF-8, which any producer can send.

use std::ffi::CStr;

use rdkafka::{bindings, message::BorrowedMessage, types::RDKafkaRespErr};

use crate::record::Header;

/// The headers of a message, in their order.
#[expect(unsafe_code, reason = "librdkafka's own functions are the only way to a name that is not UTF-8")]
pub(super) fn of(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the message is valid while it is borrowed; librdkafka writes the pointer only on success.
    let found = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
        return Vec::new();
    }
    let header_at = |index: usize| {
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: `headers` belongs to the message; the three places are ours.
        let error =
            unsafe { bindings::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size) };
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: on success the name is a C string and the value, unless null, has `size` bytes; both live as long as
        // the message, and are copied here.
        let header = unsafe {
            Header {
                key: CStr::from_ptr(name).to_bytes().into(),
                value: (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size).into()),
            }
        };
        Some(header)
    };
    // SAFETY: as above.
    let count = unsafe { bindings::rd_kafka_header_cnt(headers) };
    (0..count).map_while(header_at).collect()
}
