//! What can go wrong with Kafka for good. What passes by itself is logged and waited for instead.

use std::time::Duration;

use crate::connection::SettingError;

/// A reason to stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// The settings have mistakes; all of them are listed.
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
    /// The caller does not want this cluster.
    #[error("cluster {cluster} was refused: {reason}")]
    ClusterRefused {
        /// The cluster's id.
        cluster: String,
        /// What the caller says.
        reason: String,
    },
    /// A state that librdkafka cannot leave.
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
    /// The consumer's thread is gone without a word.
    #[error("the consumer thread ended unexpectedly: this is a fault in the bridge; the log has the panic")]
    Died,
    /// The group could not be left in time.
    #[error(
        "the consumer did not close within {timeout:?}: its last commit may be missing, so that some events are read again"
    )]
    CloseTimedOut {
        /// How long it was waited for.
        timeout: Duration,
    },
}

impl KafkaError {
    /// A stable word for labels.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Settings(_) => "settings",
            Self::Client { .. } => "client",
            Self::Subscribe { .. } => "subscribe",
            Self::ClusterRefused { .. } => "cluster_refused",
            Self::Fatal { .. } => "fatal",
            Self::Thread { .. } => "thread",
            Self::Died => "died",
            Self::CloseTimedOut { .. } => "close_timed_out",
        }
    }
}

fn mistakes(count: usize) -> String {
    if count == 1 { "one mistake".into() } else { format!("{count} mistakes") }
}

fn join(errors: &[SettingError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
