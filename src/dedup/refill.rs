//! Which records the ledger topic lost, and gets again from this ledger: it was deleted and created again, emptied early,
//! given another name, or off for a while.
//!
//! Owns, for each partition, the time before which the topic lost what was written. Every replica does the same for the
//! partitions that it owns, so that a replica without a ledger of its own can know what an earlier topic held. It is
//! never forgotten: a record that was written again is younger.

use std::sync::Arc;

use super::{error::LedgerError, keys::loss_key, ledger::Ledger, losses::Losses};

impl Ledger {
    /// Notes that the ledger topic has nothing left of what was written to a partition of it (of all, for `None`) until
    /// now. `now_ms` is ms since 1970. Durable after [`durable`](Self::durable), and not later than a position that is
    /// written after it.
    pub(crate) fn note_topic_loss(&self, partition: Option<i32>, now_ms: u64) -> Result<(), LedgerError> {
        let key = loss_key(partition);
        self.store().attempt("note a loss of the ledger topic", |store| store.insert(&key, &now_ms.to_be_bytes()))?;
        let mut losses = self.losses_slot().lock();
        let noted = losses.noted(partition, now_ms);
        *losses = Arc::new(noted);
        Ok(())
    }

    /// A number that changes whenever a loss is noted; 0 when none is known.
    pub(crate) fn topic_losses(&self) -> u64 {
        self.losses().count()
    }

    /// When records are written that are written now: not before the last loss, whatever the clock was set to since.
    pub(crate) fn written_now(&self, now_ms: u64) -> u64 {
        self.losses().latest().map_or(now_ms, |latest| latest.max(now_ms))
    }

    pub(super) fn losses(&self) -> Arc<Losses> {
        Arc::clone(&self.losses_slot().lock())
    }
}
