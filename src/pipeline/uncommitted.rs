//! The events that a restart would read again.
//!
//! Owns, for each received record of an event that may have a ledger record, its offset and a hash
//! of its event id, until the broker has committed an offset above it. It does not know
//! times: it is one half of the rule by which records leave the ledger.
//!
//! The rule: a ledger record leaves when
//!
//! 1. its event was first seen longer ago than the window, counted to the moment through which every
//!    assigned partition has been read (`ReadProgress::through_ms`), and
//! 2. no received record of its event is at or above its partition's committed offset.
//!
//! The invariant that follows: whatever is read after a removal was appended after the window. A
//! record that was appended within it was received before (1), and Kafka hands it out again only from
//! the committed offset on (2). Everything in flight is covered by one notion, because all of it is
//! uncommitted: deliveries, poison that waits for its dead letter, repetitions that wait, arrivals in
//! the channel, and whatever was completed behind any of these. After a restart the same records are
//! read before (1) holds again. The model below checks it over random histories with crashes.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use crate::{
    event::Origin,
    sync::{Mutex, MutexGuard},
};

/// See the module. A hash collision of two ids only keeps a record for longer.
#[derive(Debug, Default)]
pub(super) struct Uncommitted {
    hasher: RandomState,
    received: Mutex<Received>,
}

#[derive(Debug, Default)]
struct Received {
    /// The id's hash of each received record, by topic, partition and offset.
    records: HashMap<Arc<str>, HashMap<i32, BTreeMap<i64, u64>>>,
    /// How many records each of these hashes has.
    events: HashMap<u64, u32>,
}

impl Uncommitted {
    /// Adds a received record, before anything is decided on it.
    pub(super) fn received(&self, origin: &Origin, event_id: &str) {
        let hash = self.hasher.hash_one(event_id);
        let mut received = self.lock();
        *received.events.entry(hash).or_default() += 1;
        if !received.records.contains_key(&origin.topic) {
            received.records.insert(Arc::clone(&origin.topic), HashMap::new());
        }
        let partitions = received.records.get_mut(&origin.topic);
        let again = partitions.and_then(|all| all.entry(origin.partition).or_default().insert(origin.offset, hash));
        // An offset that is read again counts once.
        if let Some(before) = again {
            received.forget(before);
        }
    }

    /// The broker has committed this offset: what is below it is not read again.
    pub(super) fn committed(&self, topic: &str, partition: i32, offset: i64) {
        let mut received = self.lock();
        let Some(records) = received.records.get_mut(topic).and_then(|all| all.get_mut(&partition)) else { return };
        if records.first_key_value().is_none_or(|(first, _)| *first >= offset) {
            return;
        }
        let above = records.split_off(&offset);
        for hash in std::mem::replace(records, above).into_values() {
            received.forget(hash);
        }
    }

    /// Whether a restart would read a record of this event again.
    pub(super) fn contains(&self, event_id: &str) -> bool {
        self.lock().events.contains_key(&self.hasher.hash_one(event_id))
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock()
    }
}

impl Received {
    fn forget(&mut self, hash: u64) {
        if let Entry::Occupied(mut count) = self.events.entry(hash) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
