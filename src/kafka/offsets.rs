//! How far a partition may be committed: the frontier over the offsets that were *received*.
//!
//! Owns, for one assignment of one partition, which received offsets have no outcome yet. Its
//! invariant: [`Frontier::position`] is never above an offset that was received and is not
//! complete. Offsets are compared and never counted with, because a compacted or transactional
//! topic has gaps. Only the open offsets are kept, so the cost is what is in flight, whatever
//! stands between. Pure: no Kafka, no clock.
//!
//! Each assignment has a frontier of its own, so a completion from an earlier assignment reaches
//! only a frontier that nobody commits from. Within an assignment the log may rewind (a topic
//! created anew, a seek, an offset reset): an offset below the next expected one starts a
//! new epoch. What was open from that offset on is delivered again, and its old completions count
//! for nothing; what was open below it is not delivered again, and keeps its claim on the frontier.

use std::collections::BTreeMap;

/// A commit that the broker does not show after so many looks is asked for again.
const UNSEEN: u8 = 5;

/// The time between two rewinds, within one assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch(u32);

#[derive(Debug)]
struct Open {
    epoch: Epoch,
    /// What may be committed while this offset is the first open one: where reading went on before it, or
    /// itself when nothing was received before it.
    resume: i64,
    /// How many records were received before it.
    ordinal: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Frontier {
    epoch: Epoch,
    open: BTreeMap<i64, Open>,
    /// The next offset to expect, and where to resume when nothing is open.
    next: Option<i64>,
    received: u64,
    requested: Option<i64>,
    /// How often the broker was seen without what was requested.
    unseen: u8,
    committed: Option<i64>,
}

impl Frontier {
    /// The frontier of a new assignment whose committed offset is known, or not.
    pub(super) fn new(committed: Option<i64>) -> Self {
        Self { epoch: Epoch(0), open: BTreeMap::new(), next: None, received: 0, requested: None, unseen: 0, committed }
    }

    /// The frontier of a partition that begins at `offset` on purpose, which is worth a commit
    /// before anything was received.
    pub(super) fn starting_at(offset: i64) -> Self {
        Self { next: Some(offset), ..Self::new(None) }
    }

    /// Takes note of a received record, and says in which epoch.
    pub(super) fn receive(&mut self, offset: i64) -> Epoch {
        // A commit of the first offset keeps a restart from beginning anywhere else, as `latest` would.
        let mut resume = self.next.unwrap_or(offset);
        if self.committed.is_some_and(|committed| offset < committed) {
            // That commit was of a log that is gone, or is taken back: it covers nothing that is read now.
            self.committed = None;
        }
        if self.next.is_some_and(|next| offset < next) {
            self.epoch = Epoch(self.epoch.0.wrapping_add(1));
            self.open.split_off(&offset);
            self.requested = None;
            self.committed = None;
            resume = offset;
        }
        self.open.insert(offset, Open { epoch: self.epoch, resume, ordinal: self.received });
        self.received += 1;
        self.next = Some(offset + 1);
        self.epoch
    }

    /// Nothing stands between the last received record and `offset` that could be received: marks of
    /// transactions, aborted or compacted records, or what Kafka dropped.
    pub(super) fn skip_to(&mut self, offset: i64) {
        if self.next.is_none_or(|next| next < offset) {
            self.next = Some(offset);
        }
    }

    /// The log is another one now: what was received of the old one counts for nothing.
    pub(super) fn begin_again(&mut self) {
        let epoch = Epoch(self.epoch.0.wrapping_add(1));
        *self = Self { epoch, ..Self::new(None) };
    }

    /// Takes note of an outcome; `false` when the offset was delivered again since, or is complete.
    pub(super) fn complete(&mut self, epoch: Epoch, offset: i64) -> bool {
        if self.open.get(&offset).is_some_and(|open| open.epoch == epoch) {
            self.open.remove(&offset);
            true
        } else {
            false
        }
    }

    /// The offset to resume at: every record received below it is complete.
    pub(super) fn position(&self) -> Option<i64> {
        match self.open.first_key_value() {
            Some((_, first)) => Some(first.resume),
            None => self.next,
        }
    }

    /// The position, when it was neither committed nor asked to be.
    pub(super) fn committable(&self) -> Option<i64> {
        self.position().filter(|_| self.position() != self.committed && self.position() != self.requested)
    }

    /// A commit of this offset is on its way.
    pub(super) fn mark_requested(&mut self, offset: i64) {
        self.requested = Some(offset);
        self.unseen = 0;
    }

    /// The broker was seen to have this offset, or none. When that is not the one asked for, again
    /// and again, the request was lost.
    pub(super) fn mark_seen(&mut self, offset: Option<i64>) {
        // An answer may come late: what lies above all that was received is from before a rewind.
        self.committed = offset.filter(|offset| self.next.is_none_or(|next| *offset <= next));
        self.unseen += 1;
        if self.requested == offset || self.unseen > UNSEEN {
            self.requested = None;
            self.unseen = 0;
        }
    }

    /// The offset that was asked for, and is not known to be committed.
    pub(super) fn requested(&self) -> Option<i64> {
        self.requested
    }

    /// The broker refused it: it is committable again.
    pub(super) fn mark_failed(&mut self) {
        self.requested = None;
    }

    /// What the broker has.
    pub(super) fn committed(&self) -> Option<i64> {
        self.committed
    }

    /// How many records were received from the first open one on: what a crash would read again.
    pub(super) fn span(&self) -> u64 {
        self.open.first_key_value().map_or(0, |(_, first)| self.received - first.ordinal)
    }

    /// How many records have no outcome yet.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests;
