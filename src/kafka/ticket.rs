//! The ticket of a record: it completes the record's offset and refunds the record's share of the budget.
//!
//! Its invariant: a [`Ticket`] moves the frontier at most once, and refunds the budget exactly once, whether it is
//! completed or dropped.

use std::{fmt, sync::Arc};

use super::{budget::Charge, offsets::Epoch, ownership::Ownership};

/// Where the outcomes of records go: their partition.
pub(super) trait Completions: Send + Sync {
    /// The record at this offset has its outcome.
    fn complete(&self, epoch: Epoch, offset: i64);
}

/// Calls a function with the offset of a record that has its outcome.
struct Calls<F>(F);

impl<F: Fn(i64) + Send + Sync> Completions for Calls<F> {
    fn complete(&self, _: Epoch, offset: i64) {
        (self.0)(offset);
    }
}

/// The right to complete the offset of one record, and the record's share of the budget.
///
/// [`complete`](Self::complete) it when the record has its outcome and the outcome is durable. A ticket that is dropped
/// refunds the budget and leaves the offset open: nothing is committed past it, and the record is read again after a
/// restart or a rebalance.
#[must_use = "a dropped ticket leaves its offset open: complete it, or keep it"]
pub(crate) struct Ticket {
    partition: Arc<dyn Completions>,
    epoch: Epoch,
    offset: i64,
    charge: Charge,
    ownership: Arc<Ownership>,
}

impl Ticket {
    pub(super) fn new(
        partition: Arc<dyn Completions>,
        epoch: Epoch,
        offset: i64,
        charge: Charge,
        ownership: Arc<Ownership>,
    ) -> Self {
        Self { partition, epoch, offset, charge, ownership }
    }

    /// A ticket for a record that no frontier knows: `complete` gets its offset.
    pub(super) fn calling(
        complete: impl Fn(i64) + Send + Sync + 'static,
        offset: i64,
        charge: Charge,
        ownership: Arc<Ownership>,
    ) -> Self {
        Self::new(Arc::new(Calls(complete)), Epoch::default(), offset, charge, ownership)
    }

    /// The assignment of the partition that the record was received in.
    pub(crate) fn ownership(&self) -> &Arc<Ownership> {
        &self.ownership
    }

    /// Charges more memory for what was made of the record. It is refunded with the ticket.
    pub(crate) fn charge(&mut self, bytes: u64) {
        self.charge.add(bytes);
    }

    /// The record has its outcome.
    pub(crate) fn complete(self) {
        self.partition.complete(self.epoch, self.offset);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket(offset {})", self.offset)
    }
}
