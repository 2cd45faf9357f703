//! Why the pipeline ended by itself.

use crate::dedup::LedgerError;

/// Why the pipeline ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    /// The ledger cannot be written: going on could run an agent twice.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A defect of the bridge.
    #[error(
        "{0}: this is a defect of the bridge: start it again (nothing unfinished is committed) and report it with the log"
    )]
    Lost(String),
}
