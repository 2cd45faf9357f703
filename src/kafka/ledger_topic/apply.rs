//! Where the records of the ledger topic go.

use super::{entries::Entries, start::LedgerPosition};

/// Takes what was read from the ledger topic. Called on the reader's thread, and may block.
pub(crate) trait ApplyEntries: Send {
    /// How far the partition was read; `None` when nothing is known.
    fn position(&self, partition: i32) -> Option<LedgerPosition>;

    /// The ledger topic has nothing left of what was written to the partition until now.
    fn lost(&mut self, partition: i32) -> Result<(), String>;

    /// Merges records, in the order of the topic, and stores the position after them. It may be called again with the same
    /// records. An error is reported, and the call is repeated until it succeeds.
    fn apply(&mut self, partition: i32, entries: &Entries, position: LedgerPosition) -> Result<(), String>;
}
