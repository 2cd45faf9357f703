//! The settings of the parts that every bridge has.

use std::{path::PathBuf, time::Duration};

use crate::{kafka::KafkaSettings, pipeline::OutcomeLog};

/// The settings of these parts.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The Kafka client.
    pub kafka: KafkaSettings,
    /// The folder of the ledger.
    pub data_dir: PathBuf,
    /// How long an event is remembered.
    pub dedup_window: Duration,
    /// The ledger's cache, in bytes.
    pub dedup_cache_bytes: u64,
    /// The topic that carries the ledger to the other replicas; none when that is off.
    pub ledger_topic: Option<String>,
    /// How long the breaker of an agent is open before its deliveries are parked; never when absent.
    pub park_after: Option<Duration>,
    /// How long a stop waits for attempts in progress.
    pub drain_timeout: Duration,
    /// Which outcomes of events are logged.
    pub outcome_log: OutcomeLog,
}
