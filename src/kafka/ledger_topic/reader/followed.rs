//! One partition of the ledger topic that is read, and the source partitions that wait for it. Makes no request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::super::{
    super::{
        anchor::Anchor,
        partition::{LedgerProgress, Partition},
    },
    entries::Entries,
    following::Following,
    start::LedgerPosition,
};

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How soon a store that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The largest key and value that a batch takes: twice the largest record of a ledger.
const MAX_RECORD_BYTES: usize = 2 << 20;
/// A batch is applied when it has as many records or bytes.
const BATCH_RECORDS: usize = 20_000;
const BATCH_BYTES: usize = 8 << 20;

/// See the module.
pub(super) struct Followed {
    pub(super) number: i32,
    owners: Vec<Owner>,
    phase: Phase,
    /// The next offset to be received.
    received: i64,
    /// What it was at the last look.
    seen: i64,
    /// Everything below it was applied.
    applied: LedgerPosition,
    batch: Entries,
    /// The digest of the last record received, unless it is the last of the batch.
    skipped: Option<u64>,
    /// The record that is awaited for the comparison was not there.
    missed: bool,
    /// The end is to be asked for again.
    ask: bool,
    /// When it may be asked for.
    again_at: Instant,
    /// Why the end is not known, and why nothing is read or applied.
    unknown: Option<String>,
    unread: Option<String>,
    wait: Duration,
}

/// A source partition.
struct Owner {
    partition: Arc<Partition>,
    /// Where the ledger partition stood at its assignment.
    from: i64,
    /// The end of the ledger partition, asked after the assignment.
    end: Option<i64>,
    caught_up: bool,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is fetched.
    Closed,
    /// The record before the position is awaited, to be compared.
    Comparing {
        low: i64,
    },
    Reading,
}

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// It is in the batch, or needs not be.
    Taken,
    /// It is in the batch, which is to be applied now.
    Full,
    /// It is not one of the ledger, and was skipped.
    TooLarge,
    /// The topic is another one: it begins at this offset.
    Another(i64),
}

/// What the end of the log means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    Reached,
    /// The record that is awaited for the comparison is not there: look again, after asking for the ends.
    Missing,
    /// It was not there twice. The topic is another one: it begins at this offset.
    Another(i64),
}

fn digest(offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    Anchor::of(offset, None, key, value).digest()
}

impl Followed {
    pub(super) fn new(number: i32, now: Instant) -> Self {
        Self {
            number,
            owners: Vec::new(),
            phase: Phase::Closed,
            received: 0,
            seen: 0,
            applied: LedgerPosition { offset: 0, anchor: 0 },
            batch: Entries::default(),
            skipped: None,
            missed: false,
            ask: false,
            again_at: now,
            unknown: None,
            unread: None,
            wait: FIRST_WAIT,
        }
    }

    pub(super) fn add(&mut self, partition: Arc<Partition>, now: Instant) {
        self.again_at = now;
        self.owners.push(Owner { partition, from: self.applied.offset, end: None, caught_up: false, since: now });
    }

    /// Whether a source partition has been assigned in this time.
    pub(super) fn was_assigned_within(&self, time: Duration, now: Instant) -> bool {
        self.owners.iter().any(|owner| now.saturating_duration_since(owner.since) < time)
    }

    /// Whether another source partition still needs it.
    pub(super) fn remove(&mut self, partition: &Arc<Partition>) -> bool {
        self.owners.retain(|owner| !Arc::ptr_eq(&owner.partition, partition));
        !self.owners.is_empty()
    }

    /// Its end has to be asked for, and it is time.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.again_at && (self.ask || self.is_closed() || self.owners.iter().any(|owner| owner.end.is_none()))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// A source partition waits.
    pub(super) fn is_waited_for(&self) -> bool {
        self.owners.iter().any(|owner| !owner.caught_up)
    }

    /// Reading begins at `position`; returns the first offset to fetch. With `compare` the record before comes first.
    pub(super) fn begin(&mut self, position: LedgerPosition, low: i64, compare: bool) -> i64 {
        self.batch.clear();
        self.skipped = None;
        self.applied = position;
        self.received = position.offset;
        for owner in self.owners.iter_mut().filter(|owner| !owner.caught_up) {
            owner.from = position.offset;
        }
        self.phase = if compare { Phase::Comparing { low } } else { Phase::Reading };
        if compare { position.offset - 1 } else { position.offset }
    }

    /// Nothing is fetched from here on, until it is begun again.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Closed;
        self.batch.clear();
        self.skipped = None;
        self.received = self.applied.offset;
    }

    /// The log is another one: its end is to be asked for.
    pub(super) fn forget_end(&mut self) {
        for owner in self.owners.iter_mut().filter(|owner| !owner.caught_up) {
            owner.end = None;
        }
    }

    /// The ends are to be asked for again: the log may have become shorter since.
    pub(super) fn ask_again(&mut self) {
        self.ask = true;
    }

    /// The end of the log as of now. An end from before stays when it is lower, so that one day it is reached.
    pub(super) fn set_end(&mut self, end: i64, now: Instant) {
        self.wait = FIRST_WAIT;
        self.again_at = now + Duration::from_secs(1);
        (self.ask, self.unknown) = (false, None);
        for owner in self.owners.iter_mut().filter(|owner| !owner.caught_up) {
            owner.end = Some(owner.end.map_or(end, |before| before.min(end)));
        }
    }

    /// The end could not be asked for.
    pub(super) fn end_unknown(&mut self, problem: &str, now: Instant) {
        self.again_at = now + self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.unknown = Some(problem.to_owned());
        self.show();
    }

    /// Nothing can be fetched or applied. After a [`close`](Self::close) it is tried again soon.
    pub(super) fn not_read(&mut self, problem: &str, now: Instant) {
        self.again_at = self.again_at.max(now + AGAIN_AFTER);
        self.unread = Some(problem.to_owned());
        self.show();
    }

    /// The leader of the partition has answered, and it has no further record.
    pub(super) fn at_end(&mut self) -> AtEnd {
        self.unread = None;
        match self.phase {
            Phase::Comparing { low } if self.missed => AtEnd::Another(low),
            // A new leader may show the last records only after a moment.
            Phase::Comparing { .. } => {
                self.missed = true;
                AtEnd::Missing
            }
            Phase::Reading | Phase::Closed => AtEnd::Reached,
        }
    }

    /// Takes a record. `offset` may be any: fetches that were under way when reading was begun again do not count.
    pub(super) fn receive(&mut self, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Received {
        match self.phase {
            Phase::Closed => return Received::Taken,
            Phase::Comparing { .. } if offset < self.received - 1 => return Received::Taken,
            Phase::Comparing { low } => {
                // One that comes after it: the record has left the log, which says nothing about the log.
                if offset == self.received - 1 && digest(offset, key, value) != self.applied.anchor {
                    return Received::Another(low);
                }
                self.phase = Phase::Reading;
                self.missed = false;
            }
            Phase::Reading => {}
        }
        if offset < self.received {
            return Received::Taken;
        }
        self.received = offset + 1;
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        match value {
            // The test record of a start.
            None => self.skipped = Some(digest(offset, key, value)),
            Some(_) if size > MAX_RECORD_BYTES => {
                self.skipped = Some(digest(offset, key, value));
                return Received::TooLarge;
            }
            Some(value) => {
                self.skipped = None;
                self.batch.push(key.unwrap_or_default(), value);
            }
        }
        let full = self.batch.len() >= BATCH_RECORDS || self.batch.bytes() >= BATCH_BYTES;
        if full { Received::Full } else { Received::Taken }
    }

    /// Whether anything was received since the last call.
    pub(super) fn moved(&mut self) -> bool {
        std::mem::replace(&mut self.seen, self.received) != self.received
    }

    /// Bytes that wait to be applied.
    pub(super) fn batch_bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// What is to be applied, and the position after it.
    pub(super) fn batch(&self) -> Option<(&Entries, LedgerPosition)> {
        if self.received == self.applied.offset || self.is_closed() {
            return None;
        }
        let last = self.batch.iter().last();
        let anchor = self.skipped.or(last.map(|(key, value)| digest(self.received - 1, Some(key), Some(value))));
        Some((&self.batch, LedgerPosition { offset: self.received, anchor: anchor.unwrap_or(0) }))
    }

    /// The batch was applied.
    pub(super) fn batch_applied(&mut self, position: LedgerPosition) {
        self.applied = position;
        self.batch.clear();
        (self.skipped, self.unread) = (None, None);
    }

    pub(super) fn applied(&self) -> i64 {
        self.applied.offset
    }

    /// Whether a record was applied since reading began.
    pub(super) fn has_read(&self) -> bool {
        self.applied.anchor != 0
    }

    /// librdkafka is at this offset: what was not received below it is no record.
    fn reached(&self, client_position: Option<i64>) -> i64 {
        match client_position {
            Some(at) if self.received == self.applied.offset => at.max(self.applied.offset),
            _ => self.applied.offset,
        }
    }

    /// Lets the source partitions go whose end was reached, and shows the others how far it is.
    pub(super) fn release(&mut self, client_position: Option<i64>, following: &Following) {
        if self.phase == Phase::Reading {
            let reached = self.reached(client_position);
            for owner in &mut self.owners {
                if !owner.caught_up && owner.end.is_some_and(|end| reached >= end) {
                    owner.caught_up = true;
                    following.caught_up(&owner.partition);
                    tracing::info!(
                        topic = %owner.partition.topic(), partition = owner.partition.number(),
                        records = self.applied.offset - owner.from, ms = owner.since.elapsed().as_millis(),
                        "the ledger topic was read: the partition is consumed from now on"
                    );
                }
            }
        }
        self.show();
    }

    /// How far the source partitions that wait are, in records.
    pub(super) fn progress(&self) -> Option<(i64, Option<i64>)> {
        let owner = self.owners.iter().find(|owner| !owner.caught_up)?;
        Some((self.applied.offset - owner.from, owner.end.map(|end| (end - owner.from).max(0))))
    }

    /// Shows the source partitions that wait how far it is.
    fn show(&self) {
        for owner in self.owners.iter().filter(|owner| !owner.caught_up) {
            owner.partition.set_ledger_progress(LedgerProgress {
                read: self.applied.offset - owner.from,
                total: owner.end.map(|end| (end - owner.from).max(0)),
                problem: self.unknown.as_ref().or(self.unread.as_ref()).cloned(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
