//! How far a partition may be committed: the frontier over the offsets that were *received*.
//!
//! Owns, for one assignment of one partition, which received offsets have no outcome yet. Its invariant:
//! [`Frontier::position`] is never above an offset that was received and is not complete. Offsets are compared, and no
//! arithmetic is done with them, because a compacted or transactional topic has gaps. Only the open offsets are kept, so
//! memory grows with what is in flight and not with the gaps. Pure: no Kafka, no clock.
//!
//! Each assignment has a frontier of its own, so a completion of an earlier assignment reaches only a frontier that nobody
//! commits from. Within an assignment the log may rewind (a topic that was created again, a seek, an offset reset): an
//! offset below the next expected one starts a new epoch. Offsets that were open from there on are delivered again, and
//! their old completions are ignored. Offsets that were open below it are not delivered again, and still block the
//! frontier.

use std::collections::BTreeMap;

/// A commit that the broker does not show after so many requests is made again.
const MAX_UNSEEN: u8 = 5;

/// The time between two rewinds, within one assignment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch(u32);

#[derive(Debug)]
struct Open {
    epoch: Epoch,
    /// The offset to commit while this one is the first open one: the next expected one before it was received, or
    /// itself when nothing was.
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
    /// How often the broker did not show the requested commit.
    unseen: u8,
    committed: Option<i64>,
}

impl Frontier {
    /// The frontier of a new assignment whose committed offset is known, or not.
    pub(super) fn new(committed: Option<i64>) -> Self {
        Self { epoch: Epoch(0), open: BTreeMap::new(), next: None, received: 0, requested: None, unseen: 0, committed }
    }

    /// The frontier of a partition that begins at `offset` by decision, which is committed before anything is received.
    pub(super) fn starting_at(offset: i64) -> Self {
        Self { next: Some(offset), ..Self::new(None) }
    }

    /// Adds a received record, and returns its epoch.
    pub(super) fn receive(&mut self, offset: i64) -> Epoch {
        // Commit the first offset, so that a restart does not begin elsewhere, as `latest` would.
        let mut resume = self.next.unwrap_or(offset);
        if self.committed.is_some_and(|committed| offset < committed) {
            // That commit was of another log, or was reset: it covers nothing that is read now.
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

    /// Nothing between the last received record and `offset` can be received: there are marks of transactions, aborted or
    /// compacted records, or records that Kafka dropped.
    pub(super) fn skip_to(&mut self, offset: i64) {
        if self.next.is_none_or(|next| next < offset) {
            self.next = Some(offset);
        }
    }

    /// The log was replaced: forget what was received of the old one.
    pub(super) fn begin_again(&mut self) {
        let epoch = Epoch(self.epoch.0.wrapping_add(1));
        *self = Self { epoch, ..Self::new(None) };
    }

    /// Completes an offset; `false` when it was delivered again since, or is complete already.
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

    /// The position, when it is neither committed nor requested.
    pub(super) fn committable(&self) -> Option<i64> {
        self.position().filter(|_| self.position() != self.committed && self.position() != self.requested)
    }

    /// A commit of this offset is under way.
    pub(super) fn mark_requested(&mut self, offset: i64) {
        self.requested = Some(offset);
        self.unseen = 0;
    }

    /// The broker shows this committed offset, or none. When it repeatedly is not the requested one, the request was
    /// lost.
    pub(super) fn mark_seen(&mut self, offset: Option<i64>) {
        // A late answer: an offset above everything that was received is from before a rewind.
        self.committed = offset.filter(|offset| self.next.is_none_or(|next| *offset <= next));
        self.unseen += 1;
        if self.requested == offset || self.unseen > MAX_UNSEEN {
            self.requested = None;
            self.unseen = 0;
        }
    }

    /// The requested offset that is not known to be committed.
    pub(super) fn requested(&self) -> Option<i64> {
        self.requested
    }

    /// The commit failed: the position is committable again.
    pub(super) fn mark_failed(&mut self) {
        self.requested = None;
    }

    /// The committed offset, as the broker shows it.
    pub(super) fn committed(&self) -> Option<i64> {
        self.committed
    }

    /// How many records were received from the first open one on, which a crash would read again.
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
