//! Which records the ledger topic lost, and gets again from this ledger: it was deleted and created again, emptied early,
//! given another name, or off for a while.
//!
//! Owns, for each partition, the time before which the topic lost what was written. Every replica that notices a loss writes
//! what its ledger knows, also after the partition has moved on, so that one without a ledger of its own can know what an
//! earlier topic held. A loss is never forgotten: a record is lost until all of it was written again.

use std::sync::Arc;

use super::{error::LedgerError, keys::loss_key, ledger::Ledger, losses::Losses, record::Record};

/// By how much the clock of a replica may be ahead of ours. What is written so soon after a loss is written once more.
const CLOCK_SKEW_MS: u64 = 60_000;

impl Ledger {
    /// Notes that the ledger topic has nothing left of what was written to a partition of it (of all, for `None`) until
    /// now. `now_ms` is ms since 1970. Durable after [`durable`](Self::durable), and not later than a position that is
    /// written after it.
    pub(crate) fn note_topic_loss(&self, partition: Option<i32>, now_ms: u64) -> Result<(), LedgerError> {
        let mut losses = self.losses_slot().lock();
        let noted = losses.noted(partition, now_ms.saturating_add(CLOCK_SKEW_MS));
        let (key, time) = (loss_key(partition), noted.time(partition).unwrap_or(now_ms));
        self.store().attempt("note a loss of the ledger topic", |store| store.insert(&key, &time.to_be_bytes()))?;
        *losses = Arc::new(noted);
        Ok(())
    }

    /// Whether the ledger topic lost this record, and has not got it again.
    pub(crate) fn is_lost(&self, record: &Record) -> bool {
        self.losses().include(record)
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
