//! What the consumer and the reader of the ledger topic share: which source partitions are owned, and what became of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::Duration,
};

use super::super::{partition::Partition, report::Reporter};
use crate::sync::{Condvar, Mutex};

/// See the module.
#[derive(Debug)]
pub(in super::super) struct Following {
    topic: String,
    changes: Mutex<Vec<Change>>,
    changed: Condvar,
    some_caught_up: AtomicBool,
    closed: AtomicBool,
    positions: Mutex<Vec<(i32, i64)>>,
    /// How many partitions the topic had when it was asked last; 0 before.
    partitions: AtomicI32,
    pub(super) reporter: Reporter,
}

/// A change of the assignment.
#[derive(Debug)]
pub(super) enum Change {
    Assigned(Arc<Partition>),
    Revoked(Arc<Partition>),
}

impl Following {
    pub(super) fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            changes: Mutex::default(),
            changed: Condvar::new(),
            some_caught_up: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            positions: Mutex::default(),
            partitions: AtomicI32::new(0),
            reporter: Reporter::new("ledger topic reader"),
        }
    }

    /// These partitions are owned from now on, and held until their ledger partitions have been read.
    pub(in super::super) fn assigned(&self, partition: &Arc<Partition>) {
        partition.await_ledger();
        self.change(Change::Assigned(Arc::clone(partition)));
    }

    /// These partitions are no longer owned.
    pub(in super::super) fn revoked(&self, partitions: &[Arc<Partition>]) {
        for partition in partitions {
            self.change(Change::Revoked(Arc::clone(partition)));
        }
    }

    fn change(&self, change: Change) {
        self.changes.lock().push(change);
        self.changed.notify_all();
    }

    /// Whether a partition may have caught up since the last call.
    pub(in super::super) fn take_caught_up(&self) -> bool {
        self.some_caught_up.load(Ordering::Acquire) && self.some_caught_up.swap(false, Ordering::AcqRel)
    }

    pub(super) fn caught_up(&self, partition: &Partition) {
        partition.ledger_caught_up();
        self.some_caught_up.store(true, Ordering::Release);
    }

    pub(in super::super) fn topic(&self) -> &str {
        &self.topic
    }

    /// The next offset to be read of each ledger partition that is followed and was read to its end.
    pub(in super::super) fn positions(&self) -> Vec<(i32, i64)> {
        self.positions.lock().clone()
    }

    /// How many partitions the topic has; 0 while that is not known.
    pub(in super::super) fn partitions(&self) -> i32 {
        self.partitions.load(Ordering::Acquire)
    }

    pub(super) fn set_partitions(&self, count: i32) {
        self.partitions.store(count, Ordering::Release);
    }

    pub(super) fn set_positions(&self, positions: Vec<(i32, i64)>) {
        *self.positions.lock() = positions;
    }

    /// The errors of the reader that are not resolved.
    pub(in super::super) fn last_error(&self) -> Option<String> {
        self.reporter.last_error()
    }

    pub(super) fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock())
    }

    /// Waits for a change.
    pub(super) fn wait(&self, timeout: Duration) {
        let changes = self.changes.lock();
        let waiting = |changes: &mut Vec<Change>| changes.is_empty() && !self.is_closed();
        drop(self.changed.wait_timeout_while(changes, timeout, waiting));
    }

    pub(in super::super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.changes.lock());
        self.changed.notify_all();
    }

    pub(in super::super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
