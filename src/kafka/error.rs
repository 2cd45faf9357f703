//! Permanent errors of the Kafka client. Transient ones are logged and waited out instead.

use std::{error::Error, sync::Arc, time::Duration};

use crate::connection::SettingError;

/// See the module.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KafkaError {
    /// The settings have mistakes: all of them.
    #[error("{} in the Kafka settings: {}", mistakes(.0.len()), join(.0))]
    Settings(Vec<SettingError>),
    /// librdkafka refuses to make a client.
    #[error("Kafka {role} cannot be created: {reason}: check security and the librdkafka properties")]
    Client {
        /// `consumer`, `producer` or `dead-letter producer`.
        role: &'static str,
        /// What librdkafka says.
        reason: String,
    },
    /// The subscription was refused.
    #[error("cannot subscribe to {topics:?}: {reason}: check the topics' names")]
    Subscribe {
        /// The topics.
        topics: Vec<String>,
        /// What librdkafka says.
        reason: String,
    },
    /// The caller refused this cluster.
    #[error("cluster {cluster} was refused: {source}")]
    ClusterRefused {
        /// The cluster's id.
        cluster: String,
        /// The caller's own error.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The ledger topic cannot be used.
    #[error(
        "ledger topic {topic}: {reason}: {advice}; or set dedup.ledger_topic to off, and run one replica only, whose disk then has the only copy of the ledger"
    )]
    LedgerTopic {
        /// Its name.
        topic: String,
        /// What was expected and found.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// A fatal state of librdkafka.
    #[error(
        "the Kafka client has failed for good ({code}): {reason}: start the bridge again; nothing that was not finished is committed"
    )]
    Fatal {
        /// librdkafka's name of the error.
        code: String,
        /// What librdkafka says.
        reason: String,
    },
    /// The consumer's thread could not be started.
    #[error("the consumer thread cannot be started: {reason}: check the limits on threads")]
    Thread {
        /// What the system says.
        reason: String,
    },
    /// The consumer's thread, or one that it cannot do without, ended by itself.
    #[error("a thread of the consumer ended unexpectedly: this is a fault in the bridge; the log has the panic")]
    Died,
    /// The group could not be left in time.
    #[error(
        "the consumer did not close within {timeout:?}: its last commit may be missing, so that some events are read again"
    )]
    CloseTimedOut {
        /// How long the caller waited.
        timeout: Duration,
    },
}

fn mistakes(count: usize) -> String {
    if count == 1 { "one mistake".into() } else { format!("{count} mistakes") }
}

fn join(errors: &[SettingError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
