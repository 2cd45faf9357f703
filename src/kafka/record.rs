//! A record as it is handed over, and the ticket that says what became of it.
//!
//! Owns the interface between the consumer loop and whoever receives. Its invariant: a [`Ticket`]
//! moves the frontier at most once, and gives its share of the budget back exactly once, whether it
//! is settled or dropped.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use rdkafka::message::{BorrowedHeaders, Headers as _};

use super::{
    budget::{self, Charge},
    offsets::Epoch,
    partitions::Partition,
};
use crate::event::{Origin, RecordSize};

/// Takes the records, one by one.
pub trait Receive: Send {
    /// Takes one record; called on the consumer's thread, in the order of each partition. It must
    /// not block: while it does, the consumer does not poll, and the group loses patience.
    fn receive(&mut self, record: Incoming<'_>);
}

impl<F: FnMut(Incoming<'_>) + Send> Receive for F {
    fn receive(&mut self, record: Incoming<'_>) {
        self(record);
    }
}

/// One record from Kafka. Its bytes are librdkafka's and live as long as the call.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Where it stands.
    pub origin: Origin,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
    /// When it was published or appended, whichever the topic records; milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// What its offset waits for.
    pub ticket: Ticket,
}

impl Incoming<'_> {
    /// How large its parts are; copies nothing.
    pub fn size(&self) -> RecordSize {
        size(self.key, self.value, &self.headers)
    }

    /// What one copy of it takes in memory, in bytes.
    pub fn copy_cost(&self) -> u64 {
        budget::copy_cost(&self.size())
    }
}

/// How large the parts of a record are.
pub(super) fn size(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers<'_>) -> RecordSize {
    RecordSize {
        key: key.map_or(0, <[u8]>::len),
        value: value.map_or(0, <[u8]>::len),
        headers: headers.len(),
        header_bytes: headers.size(),
    }
}

/// One header, with a life of its own: name and value.
pub type OwnedHeader = (String, Option<Vec<u8>>);

/// The headers of a record, read when they are asked for.
#[derive(Clone, Copy)]
pub struct Headers<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Native(&'a BorrowedHeaders),
    Owned(&'a [OwnedHeader]),
}

impl<'a> Headers<'a> {
    pub(super) fn native(headers: Option<&'a BorrowedHeaders>) -> Self {
        Self(headers.map_or(Source::Owned(&[]), Source::Native))
    }

    /// Headers that somebody else keeps.
    pub fn owned(headers: &'a [OwnedHeader]) -> Self {
        Self(Source::Owned(headers))
    }

    /// How many there are, those with an unreadable name included.
    pub fn len(&self) -> usize {
        match self.0 {
            Source::Native(headers) => headers.count(),
            Source::Owned(headers) => headers.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn at(&self, index: usize) -> Option<(&'a str, Option<&'a [u8]>)> {
        match self.0 {
            // The binding panics on a name that is not UTF-8, which nothing but a broken producer
            // writes: one such record must not end the bridge.
            Source::Native(headers) => catch_unwind(AssertUnwindSafe(|| headers.try_get(index)))
                .ok()
                .flatten()
                .map(|header| (header.key, header.value)),
            Source::Owned(headers) => headers.get(index).map(|(name, value)| (name.as_str(), value.as_deref())),
        }
    }

    /// Name and value of each, in order; a header whose name is not UTF-8 is left out.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let headers = *self;
        (0..headers.len()).filter_map(move |index| headers.at(index))
    }

    /// The value of the last header of this name, as Kafka's own clients read it.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().filter(|(found, _)| *found == name).last().and_then(|(_, value)| value)
    }

    /// A copy that outlives the record.
    pub fn to_owned(&self) -> Vec<OwnedHeader> {
        self.iter().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect()
    }

    /// Bytes of names and values.
    fn size(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum()
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, value)| (name, value.map(String::from_utf8_lossy)))).finish()
    }
}

/// The claim of one record on its partition's frontier and on the budget.
///
/// [`settle`](Self::settle) it when the record has its outcome, and the outcome is durable. Dropped
/// without it, the budget is refunded and the offset stays open: the partition is not committed
/// past it, and the record is read again after a restart or a rebalance.
#[must_use = "a dropped ticket leaves its offset open: settle it, or keep it"]
pub struct Ticket(Inner);

enum Inner {
    Record { place: Arc<Partition>, epoch: Epoch, offset: i64, charge: Charge },
    Observed { watch: Option<Box<dyn FnOnce(bool) + Send>>, charged: u64 },
}

impl Ticket {
    pub(super) fn new(place: Arc<Partition>, epoch: Epoch, offset: i64, charge: Charge) -> Self {
        Self(Inner::Record { place, epoch, offset, charge })
    }

    /// A ticket for a record that came from elsewhere: `watch` hears once whether it was settled
    /// (`true`) or dropped (`false`).
    pub fn observed(watch: impl FnOnce(bool) + Send + 'static) -> Self {
        Self(Inner::Observed { watch: Some(Box::new(watch)), charged: 0 })
    }

    /// Charges more memory for the record, for what was made of it. It is given back with the ticket.
    pub fn charge(&mut self, bytes: u64) {
        match &mut self.0 {
            Inner::Record { charge, .. } => charge.add(bytes),
            Inner::Observed { charged, .. } => *charged += bytes,
        }
    }

    /// The record has its outcome.
    pub fn settle(mut self) {
        match &mut self.0 {
            Inner::Record { place, epoch, offset, .. } => place.complete(*epoch, *offset),
            Inner::Observed { watch, .. } => {
                if let Some(watch) = watch.take() {
                    watch(true);
                }
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Inner::Observed { watch, .. } = &mut self.0
            && let Some(watch) = watch.take()
        {
            watch(false);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Record { place, offset, .. } => write!(f, "Ticket({}[{}]@{offset})", place.topic(), place.number()),
            Inner::Observed { charged, .. } => write!(f, "Ticket(observed, {charged} bytes)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[test]
    fn the_last_header_of_a_name_counts_and_a_null_value_is_no_value() {
        let owned =
            vec![("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), None), ("a".to_owned(), Some(b"2".to_vec()))];
        let headers = Headers::owned(&owned);
        assert_eq!(
            (headers.len(), headers.get("a"), headers.get("b"), headers.get("c")),
            (3, Some(&b"2"[..]), None, None)
        );
        assert_eq!(headers.to_owned(), owned);
    }

    #[test]
    fn an_observed_ticket_tells_once_what_became_of_it() {
        let heard = Arc::new(Mutex::new(vec![]));
        let watch = |heard: &Arc<Mutex<Vec<bool>>>| {
            let heard = Arc::clone(heard);
            Ticket::observed(move |settled| heard.lock().unwrap_or_else(PoisonError::into_inner).push(settled))
        };
        watch(&heard).settle();
        drop(watch(&heard));
        assert_eq!(*heard.lock().unwrap(), [true, false]);
    }
}
