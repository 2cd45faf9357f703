//! When the ledger topic lost records, by partition.

use std::collections::BTreeMap;

use super::{
    keys::{LOSS_KEY, LOSSES_END},
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

    pub(super) fn noted(&self, partition: Option<i32>, time: u64) -> Self {
        let mut losses = self.clone();
        // Later than whatever was written since the last one, also when the clock was set back.
        losses.set(partition, self.latest().map_or(time, |latest| time.max(latest.saturating_add(1))));
        losses.count += 1;
        losses
    }

    /// A later time stands, whatever the clock was set to since.
    fn set(&mut self, partition: Option<i32>, time: u64) {
        match partition {
            Some(partition) => {
                let known = self.partitions.entry(partition).or_default();
                *known = time.max(*known);
            }
            None => self.everywhere = self.everywhere.max(Some(time)),
        }
    }

    /// When a partition, or all of them, lost records last.
    pub(super) fn time(&self, partition: Option<i32>) -> Option<u64> {
        partition.map_or(self.everywhere, |partition| self.partitions.get(&partition).copied())
    }

    /// Whether the topic lost this record.
    pub(super) fn include(&self, record: &Record) -> bool {
        let Some(source) = record.source() else { return false };
        let time = self.everywhere.max(self.partitions.get(&source.partition).copied());
        time.is_some_and(|time| record.written_ms().unwrap_or(record.first_seen_ms()) < time)
    }

    /// A number that changes whenever a loss is noted; 0 when none is known.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// When the last one was noted.
    pub(super) fn latest(&self) -> Option<u64> {
        self.partitions.values().copied().chain(self.everywhere).max()
    }
}
