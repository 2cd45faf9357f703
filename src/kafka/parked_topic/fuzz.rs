//! What holds for any record of a parked topic: it fails by a panic.

use bytes::Bytes;

use super::delivery::{NotParked, ParkedDelivery, ParkedHeaders};
use crate::event::Origin;

/// The headers of a record: what is read as a parked delivery is written and read again as it is, with the headers of its
/// publisher.
pub(crate) fn parked(headers: &[(&str, Option<&[u8]>)]) {
    let read = match ParkedHeaders::read(headers) {
        Ok(read) => read,
        Err(error) => {
            assert!(error == NotParked::Foreign || error.to_string().contains("parked-"), "{error}");
            return;
        }
    };
    let original = &headers[..read.original];
    let delivery = ParkedDelivery {
        origin: Origin { topic: read.topic.into(), partition: read.partition, offset: read.offset },
        key: None,
        value: Some(Bytes::new()),
        headers: original.iter().map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec))).collect(),
        timestamp_ms: read.timestamp_ms,
        head: read.head.to_owned_head(),
    };
    let written = delivery.record_headers();
    let written: Vec<_> = written.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    assert_eq!(ParkedHeaders::read(&written), Ok(read), "a parked delivery is not read as it was written");
    assert_eq!(&written[..original.len()], original, "a header of the publisher was changed");
}
