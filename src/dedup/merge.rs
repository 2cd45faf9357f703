//! How two records of one event become one. Pure.
//!
//! Merging is a join: commutative, associative and idempotent, so records may arrive in any order and any
//! number of times, from any process, and none can undo what another one knows. Each field is therefore
//! the maximum of a total order. For a delivery there is a rank before that: one that was sent again on purpose ranks above those before it,
//! then an accepted one above one that is not, then the higher generation above the lower one. The one of the higher rank replaces the other,
//! with all its fields; only two of the same rank are merged field by field. So a late write does not undo a redrive, unless the delivery turns
//! out to have been accepted before it, and nothing undoes that it was sent again; and a record does not grow with either. Property tests check
//! the three laws.
//!
//! The time at which a record was written to the ledger topic is merged with its deliveries, because it says that the topic has all of them, or
//! is about to get them. The later time is kept of the records whose deliveries are those of the merged one, and none when neither has all of them: what
//! a former owner writes, which knows less, must not keep the owner from writing the rest.

use std::{cmp::Ordering, mem};

use super::record::{DeliveryRecord, DeliveryStatus, Record};
use crate::event::Generation;

impl Record {
    /// Adds what the other record knows; true when that changed anything. Records of two events with the
    /// same id are not mixed: the one with the smaller digest stands.
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        self.join(other, other.written_ms)
    }

    /// As [`merge`](Self::merge), for one that was changed since it was written.
    pub(super) fn merge_changed(&mut self, other: &Self) -> bool {
        self.join(other, None)
    }

    fn join(&mut self, other: &Self, other_written: Option<u64>) -> bool {
        match self.digest.cmp(&other.digest) {
            Ordering::Less => return false,
            Ordering::Greater => {
                self.clone_from(other);
                return true;
            }
            Ordering::Equal => {}
        }
        let mut changed = other.first_seen_ms < self.first_seen_ms;
        self.first_seen_ms = self.first_seen_ms.min(other.first_seen_ms);
        changed |= lower(&mut self.source, other.source.as_ref());
        let written = self.written_ms;
        let is_grown = self.merge_deliveries(&other.deliveries);
        let by_us = written.filter(|_| !is_grown);
        let by_other = other_written.filter(|_| self.deliveries == other.deliveries);
        self.written_ms = by_us.max(by_other);
        changed || is_grown || self.written_ms != written
    }

    /// Both lists are sorted, and so is their union. True when the others changed anything.
    fn merge_deliveries(&mut self, others: &[DeliveryRecord]) -> bool {
        if self.deliveries == others {
            return false;
        }
        let mut changed = false;
        let mut own = mem::take(&mut self.deliveries).into_iter().peekable();
        for other in others {
            while let Some(before) = own.next_if(|own| own.key() < other.key()) {
                self.deliveries.push(before);
            }
            if let Some(mut same) = own.next_if(|own| own.key() == other.key()) {
                changed |= same.merge(other);
                self.deliveries.push(same);
            } else {
                changed = true;
                self.deliveries.push(other.clone());
            }
        }
        self.deliveries.extend(own);
        changed
    }
}

impl DeliveryRecord {
    /// See the module. Merging the fields of two of one rank keeps the rank: else the grouping would matter.
    fn rank(&self) -> (u16, bool, u32) {
        let Generation { again, number } = self.generation;
        (again, self.status == DeliveryStatus::Delivered, number)
    }

    pub(super) fn merge(&mut self, other: &Self) -> bool {
        match other.rank().cmp(&self.rank()) {
            Ordering::Less => return false,
            Ordering::Greater => {
                self.clone_from(other);
                return true;
            }
            Ordering::Equal => {}
        }
        // The time belongs to the status: a parked delivery that was accepted later ended when it was accepted.
        let mut changed = match other.status.cmp(&self.status) {
            Ordering::Less => false,
            Ordering::Equal => lower(&mut self.ended_ms, other.ended_ms.as_ref()),
            Ordering::Greater => {
                (self.status, self.ended_ms) = (other.status, other.ended_ms);
                true
            }
        };
        changed |= raise(&mut self.failed_attempts, &other.failed_attempts);
        changed |= raise(&mut self.attempts, &other.attempts);
        changed |= lower(&mut self.first_attempt_ms, other.first_attempt_ms.as_ref());
        changed |= raise(&mut self.sent_to, &other.sent_to);
        changed |= lower(&mut self.run, other.run.as_ref());
        raise(&mut self.last_failure, &other.last_failure) || changed
    }
}

/// Replaces a value by a greater one; true when it was.
fn raise<T: Ord + Clone>(value: &mut T, other: &T) -> bool {
    let is_greater = *other > *value;
    if is_greater {
        value.clone_from(other);
    }
    is_greater
}

/// Replaces an unknown value by a known one, and a known one by a smaller one; true when it was.
fn lower<T: Ord + Clone>(value: &mut Option<T>, other: Option<&T>) -> bool {
    let is_better = other.is_some_and(|other| value.as_ref().is_none_or(|own| other < own));
    if is_better {
        *value = other.cloned();
    }
    is_better
}
