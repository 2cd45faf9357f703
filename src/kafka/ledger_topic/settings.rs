//! The settings for the ledger topic.

use std::time::Duration;

/// Which topic, and what it has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LedgerTopicSettings {
    /// Its name.
    pub topic: String,
    /// How long records are needed; the topic keeps them for longer.
    pub window: Duration,
}
