//! Which records the ledger topic lost, and gets again from this ledger: it was deleted and created again, emptied early,
//! given another name, or off for a while.
//!
//! Owns, for each partition, the time before which the topic lost what was written. Every replica does the same for the
//! partitions that it owns, so that a replica without a ledger of its own can know what an earlier topic held. It is
//! never forgotten: a record that was written again is younger.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    error::LedgerError,
    keys::{LOSSES_END, LOSS_KEY, loss_key},
    ledger::Ledger,
    record::Record,
    store::{Store, StoreError},
};

/// When the ledger topic lost what had been written to it, in ms since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// How many were noted since the start.
    count: u64,
    everywhere: Option<u64>,
    partitions: BTreeMap<i32, u64>,
}

impl Losses {
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        let mut losses = Self::default();
        store.scan(LOSS_KEY, LOSSES_END, usize::MAX, &mut |key, value| {
            let (Some((_, partition)), Ok(time)) = (key.split_first(), value.try_into().map(u64::from_be_bytes)) else {
                return;
            };
            losses.set(partition.try_into().ok().map(i32::from_be_bytes), time);
        })?;
        // What an earlier process did not write again is still to be written.
        losses.count = u64::from(losses.everywhere.is_some() || !losses.partitions.is_empty());
        Ok(losses)
    }

    fn set(&mut self, partition: Option<i32>, time: u64) {
        match partition {
            Some(partition) => drop(self.partitions.insert(partition, time)),
            None => self.everywhere = Some(time),
        }
    }

    /// Whether the topic lost this record.
    pub(super) fn include(&self, record: &Record) -> bool {
        let Some(source) = record.source() else { return false };
        let time = self.everywhere.max(self.partitions.get(&source.partition).copied());
        time.is_some_and(|time| record.written_ms().unwrap_or(record.first_seen_ms()) < time)
    }
}

impl Ledger {
    /// Notes that the ledger topic has nothing left of what was written to a partition of it (of all, for `None`) until
    /// now. `now_ms` is ms since 1970. Durable after [`durable`](Self::durable), and not later than a position that is
    /// written after it.
    pub(crate) fn note_topic_loss(&self, partition: Option<i32>, now_ms: u64) -> Result<(), LedgerError> {
        let key = loss_key(partition);
        self.store().attempt("note a loss of the ledger topic", |store| store.insert(&key, &now_ms.to_be_bytes()))?;
        let mut losses = self.losses_slot().lock();
        let mut changed = Losses::clone(&losses);
        changed.set(partition, now_ms);
        changed.count += 1;
        *losses = Arc::new(changed);
        Ok(())
    }

    /// A number that changes whenever a loss is noted; 0 when none is known.
    pub(crate) fn topic_losses(&self) -> u64 {
        self.losses().count
    }

    /// When records are written that are written now: not before the last loss, whatever the clock was set to since.
    pub(crate) fn written_now(&self, now_ms: u64) -> u64 {
        let losses = self.losses();
        losses.partitions.values().copied().chain(losses.everywhere).fold(now_ms, u64::max)
    }

    pub(super) fn losses(&self) -> Arc<Losses> {
        Arc::clone(&self.losses_slot().lock())
    }
}
