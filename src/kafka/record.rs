//! A record as the receiver gets it: the interface between the consumer loop and the pipeline.

use std::{
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use rdkafka::message::{BorrowedHeaders, Headers as _};

use super::{budget, ticket::Ticket};
use crate::event::{Origin, RecordSize};

/// Gets the id of the cluster before anything is read from it. An error refuses the cluster.
pub(crate) type OnCluster = Box<dyn FnOnce(&str) -> Result<(), Arc<dyn Error + Send + Sync>> + Send>;

/// Takes the records, one by one.
pub(crate) trait Receive: Send {
    /// Takes one record; called on the consumer's thread, in the order of each partition. It must not block: a consumer
    /// that does not poll loses its place in the group.
    fn receive(&mut self, record: Incoming<'_>);
}

impl<F: FnMut(Incoming<'_>) + Send> Receive for F {
    fn receive(&mut self, record: Incoming<'_>) {
        self(record);
    }
}

/// One record from Kafka. Its bytes are librdkafka's and live as long as the call.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    /// Its topic, partition and offset.
    pub origin: Origin,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
    /// When it was published or appended, whichever the topic records; milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Completes its offset.
    pub ticket: Ticket,
}

impl Incoming<'_> {
    /// How large its parts are; copies nothing.
    pub(crate) fn size(&self) -> RecordSize {
        size(self.key, self.value, self.headers)
    }

    /// What one copy of it takes in memory, in bytes.
    pub(crate) fn copy_cost(&self) -> u64 {
        budget::copy_cost(&self.size())
    }
}

/// How large the parts of a record are.
pub(super) fn size(key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers<'_>) -> RecordSize {
    RecordSize {
        key: key.map_or(0, <[u8]>::len),
        value: value.map_or(0, <[u8]>::len),
        headers: headers.len(),
        header_bytes: headers.size(),
    }
}

/// One header that outlives its record: name and value.
pub(crate) type OwnedHeader = (String, Option<Vec<u8>>);

/// The headers of a record, read on demand. The default has none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Headers<'a>(Option<&'a BorrowedHeaders>);

impl<'a> Headers<'a> {
    pub(super) fn new(headers: Option<&'a BorrowedHeaders>) -> Self {
        Self(headers)
    }

    /// How many there are, those with an unreadable name included.
    pub(crate) fn len(self) -> usize {
        self.0.map_or(0, BorrowedHeaders::count)
    }

    /// Name and value of each, in order; a header whose name is not UTF-8 is left out.
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let headers = self.0;
        (0..self.len()).filter_map(move |index| {
            // The binding panics on a name that is not UTF-8, which only a broken producer writes: one such record must
            // not end the bridge.
            let header = catch_unwind(AssertUnwindSafe(|| headers.and_then(|headers| headers.try_get(index))));
            header.ok().flatten().map(|header| (header.key, header.value))
        })
    }

    /// A copy that outlives the record.
    pub(crate) fn to_owned_list(self) -> Vec<OwnedHeader> {
        self.iter().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect()
    }

    /// Bytes of names and values.
    fn size(self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum()
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, value)| (name, value.map(String::from_utf8_lossy)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders};

    use super::*;

    #[test]
    fn headers_are_read_in_order_and_a_null_value_is_no_value() {
        let owned =
            vec![("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), None), ("a".to_owned(), Some(b"2".to_vec()))];
        let native = owned
            .iter()
            .fold(OwnedHeaders::new(), |native, (key, value)| native.insert(Header { key, value: value.as_deref() }));
        let headers = Headers::new(Some(native.as_borrowed()));
        assert_eq!((headers.len(), headers.to_owned_list()), (3, owned));
    }
}
