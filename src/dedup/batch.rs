//! Records read from the ledger topic, merged into the ledger many at a time, and how far each partition of it
//! was read.
//!
//! Invariant: a position is written after the records before it, so after a crash it is never ahead of them.

use std::{panic, thread};

use super::{
    error::LedgerError,
    keys::{POSITIONS_END, TOPIC_KEY, position_key},
    ledger::{Change, Ledger},
    record::Record,
};

/// What is read of the ledger topic makes no record larger than this, so that each can be appended to it and read again.
const MAX_RECORD_BYTES: usize = 256 << 10;

/// So few records are merged by one thread: to start another takes as long.
const FEW: usize = 64;

/// How far a partition of the ledger topic was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LedgerPosition {
    /// The offset of the next record to read.
    pub offset: i64,
    /// A digest of the last record that was read, by which a topic that was created again is recognised; 0 for none.
    pub anchor: u64,
}

impl LedgerPosition {
    fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.offset.to_be_bytes());
        bytes[8..].copy_from_slice(&self.anchor.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (offset, anchor) = bytes.split_first_chunk()?;
        Some(Self { offset: i64::from_be_bytes(*offset), anchor: u64::from_be_bytes(anchor.try_into().ok()?) })
    }
}

/// What a batch changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MergeSummary {
    /// Events that had no record.
    pub added: usize,
    /// Events whose record knows more now.
    pub changed: usize,
    /// Events whose record knew all of it.
    pub unchanged: usize,
    /// Events whose record in this ledger cannot be decoded, or would become too large. They are left as they are.
    pub unreadable: usize,
}

impl MergeSummary {
    fn and(self, other: Self) -> Self {
        Self {
            added: self.added + other.added,
            changed: self.changed + other.changed,
            unchanged: self.unchanged + other.unchanged,
            unreadable: self.unreadable + other.unreadable,
        }
    }
}

impl Ledger {
    /// Merges records into the ledger, and keeps the position after the last of them. Blocks; durable after
    /// [`durable`](Self::durable).
    pub(crate) fn merge_batch(
        &self,
        partition: i32,
        mut entries: Vec<(String, Record)>,
        position: LedgerPosition,
    ) -> Result<MergeSummary, LedgerError> {
        // In the order of the keys, neighbours share a page of the store.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.dedup_by(|(later_id, later), (id, record)| {
            let is_same = later_id == id;
            if is_same {
                record.merge(later);
            }
            is_same
        });
        let summary = if entries.len() <= FEW { self.merge_sorted(&entries) } else { self.merge_by_two(&entries) }?;
        let key = position_key(partition);
        self.store().attempt("write a position", |store| store.insert(&key, &position.encode()))?;
        Ok(summary)
    }

    /// Two threads, because the store takes writes at the same time and is what takes the time.
    fn merge_by_two(&self, entries: &[(String, Record)]) -> Result<MergeSummary, LedgerError> {
        let (first, second) = entries.split_at(entries.len() / 2);
        thread::scope(|scope| {
            let other = thread::Builder::new().name("ledger-merge".into());
            let Ok(other) = other.spawn_scoped(scope, || self.merge_sorted(second)) else {
                return Ok(self.merge_sorted(first)?.and(self.merge_sorted(second)?));
            };
            let own = self.merge_sorted(first);
            let other = other.join().unwrap_or_else(|defect| panic::resume_unwind(defect));
            Ok(own?.and(other?))
        })
    }

    fn merge_sorted(&self, entries: &[(String, Record)]) -> Result<MergeSummary, LedgerError> {
        let mut summary = MergeSummary::default();
        for (event_id, record) in entries {
            match self.add(event_id, record, MAX_RECORD_BYTES) {
                Ok((_, Change::Added)) => summary.added += 1,
                Ok((_, Change::Changed)) => summary.changed += 1,
                Ok((_, Change::None)) => summary.unchanged += 1,
                Ok((_, Change::TooLarge)) | Err(LedgerError::CorruptRecord { .. }) => summary.unreadable += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(summary)
    }

    /// How far a partition of the ledger topic was read. `None`: it is to be read from the beginning.
    pub(crate) fn position(&self, partition: i32) -> Option<LedgerPosition> {
        let key = position_key(partition);
        // After a failure every later call fails too, and reports it.
        let found = self.store().attempt("read a position", |store| store.get(&key)).ok()??;
        LedgerPosition::decode(&found)
    }

    /// Binds the positions to a ledger topic, or to none while that is off. Those of a topic with another name are
    /// forgotten; true when they were. A topic that this ledger was not bound to gets its records. `now_ms` is ms since
    /// 1970.
    pub(crate) fn bind_ledger_topic(&self, topic: Option<&str>, now_ms: u64) -> Result<bool, LedgerError> {
        let known = self.store().attempt("read the ledger topic", |store| store.get(TOPIC_KEY))?;
        if known.as_deref() == topic.map(str::as_bytes) {
            return Ok(false);
        }
        if topic.is_some() && self.len() > 0 {
            self.note_topic_loss(None, now_ms)?;
        }
        let mut keys = Vec::new();
        self.store().attempt("forget the positions", |store| {
            store.scan(TOPIC_KEY, POSITIONS_END, usize::MAX, &mut |key, _| keys.push(key.to_vec()))?;
            keys.iter().try_for_each(|key| store.remove(key))?;
            // Last: after a crash in between, the rest is forgotten at the next start.
            match topic {
                Some(topic) => store.insert(TOPIC_KEY, topic.as_bytes()).map(|_| ()),
                None => store.remove(TOPIC_KEY),
            }
        })?;
        self.flush_blocking()?;
        Ok(!keys.is_empty())
    }
}
