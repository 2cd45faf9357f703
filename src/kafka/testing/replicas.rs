//! The pure parts of this room for models of other rooms: the frontier of an assignment, and the lease.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::kafka::{
    lease::{Lease, Renewal},
    offsets::{Epoch, Frontier},
};

/// The frontier of an assignment in which no offset is received twice.
#[derive(Debug)]
pub(crate) struct ModelFrontier {
    frontier: Frontier,
    epochs: BTreeMap<i64, Epoch>,
}

impl ModelFrontier {
    pub(crate) fn new(committed: i64) -> Self {
        Self { frontier: Frontier::new(Some(committed)), epochs: BTreeMap::new() }
    }

    pub(crate) fn receive(&mut self, offset: i64) {
        let epoch = self.frontier.receive(offset);
        self.epochs.insert(offset, epoch);
    }

    pub(crate) fn complete(&mut self, offset: i64) {
        let is_first = self.epochs.remove(&offset).is_some_and(|epoch| self.frontier.complete(epoch, offset));
        assert!(is_first, "offset {offset} was completed without being open");
    }

    pub(crate) fn position(&self) -> Option<i64> {
        self.frontier.position()
    }

    pub(crate) fn committable(&self) -> Option<i64> {
        self.frontier.committable()
    }

    pub(crate) fn mark_requested(&mut self, offset: i64) {
        self.frontier.mark_requested(offset);
    }

    pub(crate) fn mark_seen(&mut self, committed: i64) {
        self.frontier.mark_seen(Some(committed));
    }
}

/// What a model's clock counts. A lease is at most 10 s, so a tick is short.
fn ticks(count: u64) -> Duration {
    Duration::from_millis(10 * count)
}

/// A lease on the clock of a model, enforced from the beginning.
#[derive(Debug)]
pub(crate) struct ModelLease(Lease);

/// A renewal whose request was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelRenewal(Renewal);

impl ModelLease {
    pub(crate) fn new(session: u64, clock: &Arc<AtomicU64>) -> Self {
        let clock = Arc::clone(clock);
        let lease = Lease::with_clock(ticks(session), Arc::new(move || ticks(clock.load(Ordering::Relaxed))));
        lease.enforce();
        Self(lease)
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.0.is_valid()
    }

    pub(crate) fn begin_renewal(&self) -> ModelRenewal {
        ModelRenewal(self.0.begin_renewal())
    }

    pub(crate) fn renew(&self, renewal: ModelRenewal) {
        self.0.renew(renewal.0);
    }

    pub(crate) fn end(&self) {
        self.0.end();
    }
}
