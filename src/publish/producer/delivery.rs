//! The records of one call, until each has its outcome.
//!
//! Owns one [`RecordLife`] for each record that a caller waits for, and does at once what a late report asks for. Its
//! invariant: callers and the poll thread move a record on under one lock, so neither misses what the other did.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::pending::PendingRecords;
use crate::{
    publish::{
        Ack,
        failure::Failure,
        lifecycle::{Action, CountChange, Counted, Event, RecordLife},
        spool::Spool,
    },
    sync::{Condvar, Mutex, MutexGuard},
};

/// The records of one call.
#[derive(Default)]
pub(in crate::publish) struct DeliverySlots {
    slots: Mutex<Vec<Slot>>,
    /// How many reports the caller waits for; it changes under the lock only.
    awaited: AtomicUsize,
    all_reported: Condvar,
}

struct Slot {
    life: RecordLife,
    /// Where the record is counted.
    pending: Option<Arc<PendingRecords>>,
    /// The spool that it was put into.
    spool: Option<Spool>,
}

impl DeliverySlots {
    /// Adds one record and returns its index.
    pub(in crate::publish) fn add(&self) -> usize {
        let mut slots = self.slots.lock();
        slots.push(Slot { life: RecordLife::awaited(), pending: None, spool: None });
        self.awaited.fetch_add(1, Ordering::Relaxed);
        slots.len() - 1
    }

    /// Says where a record is counted.
    pub(super) fn counted_by(&self, index: usize, pending: &Arc<PendingRecords>) {
        if let Some(slot) = self.slots.lock().get_mut(index) {
            slot.pending = Some(Arc::clone(pending));
        }
    }

    /// librdkafka's report on one record. The caller applies the change to the counts.
    pub(in crate::publish) fn report(&self, index: usize, result: Result<Ack, Failure>) -> CountChange {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(index) else {
            return CountChange { from: Counted::Pending, to: Counted::No };
        };
        let (action, change) = slot.life.on(result.map_or_else(Event::Failed, Event::Acknowledged));
        match action {
            Action::Wake if self.awaited.fetch_sub(1, Ordering::Release) == 1 => self.all_reported.notify_all(),
            Action::Withdraw(path, _) => {
                let spool = slot.spool.clone();
                // A slow disk must not hold up the other reports of this call.
                drop(slots);
                if let Some(spool) = spool {
                    spool.withdraw(&path);
                }
            }
            _ => {}
        }
        change
    }

    /// A record was never handed over, so no report comes and nothing counts it.
    pub(in crate::publish) fn refuse(&self, index: usize, failure: Failure) {
        self.report(index, Err(failure));
    }

    /// Whether the caller waits for any report.
    pub(in crate::publish) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Acquire) > 0
    }

    /// Waits until every report is there, at most until then.
    pub(in crate::publish) fn wait(&self, until: Instant) {
        drop(self.wait_all(until));
    }

    fn wait_all(&self, until: Instant) -> MutexGuard<'_, Vec<Slot>> {
        let mut slots = self.slots.lock();
        while self.is_awaited() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            slots = self.all_reported.wait_timeout(slots, left);
        }
        slots
    }

    /// Waits until every report is there, at most until then; what has to be done about each record. From then on the
    /// caller waits for none of them.
    pub(in crate::publish) fn collect(&self, until: Instant) -> Vec<Action> {
        let mut slots = self.wait_all(until);
        self.awaited.store(0, Ordering::Relaxed);
        slots.iter_mut().map(|slot| slot.life.on(Event::DeadlinePassed).0).collect()
    }

    /// The caller waits for one record again, which it is about to send alone.
    pub(in crate::publish) fn retry(&self, index: usize) {
        if let Some(slot) = self.slots.lock().get_mut(index) {
            slot.life.on(Event::Retried);
            self.awaited.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A record is in the spool now. If its acknowledgement came meanwhile, the file is withdrawn.
    pub(in crate::publish) fn spooled(&self, index: usize, path: PathBuf, spool: &Spool) -> Option<Ack> {
        self.kept(index, Event::Spooled(path), Some(spool))
    }

    /// A record is in the quarantine now.
    pub(in crate::publish) fn quarantined(&self, index: usize) -> Option<Ack> {
        self.kept(index, Event::Quarantined, None)
    }

    /// Nothing keeps a record: the acknowledgement, if it came meanwhile.
    pub(in crate::publish) fn not_kept(&self, index: usize) -> Option<Ack> {
        self.kept(index, Event::NotKept, None)
    }

    fn kept(&self, index: usize, event: Event, spool: Option<&Spool>) -> Option<Ack> {
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(index)?;
        slot.spool = spool.cloned();
        let (action, change) = slot.life.on(event);
        // Under the lock: the report on it, which counts it out, must not overtake this.
        if let Some(pending) = &slot.pending {
            pending.apply(change);
        }
        drop(slots);
        match action {
            Action::Return(ack) => Some(ack),
            Action::Withdraw(path, ack) => {
                if let Some(spool) = spool {
                    spool.withdraw(&path);
                }
                Some(ack)
            }
            _ => None,
        }
    }
}
