//! Why the bridge did not start, or ended by itself.

use std::path::PathBuf;

use super::exit::Exit;
use crate::{
    admin::{BindError, MetricsError},
    agents::ConnectError,
    dedup::{LedgerError, OpenError},
    kafka::KafkaError,
    pipeline::PipelineError,
    publish::PublishError,
    routing::Problems,
};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    /// The routing folder has mistakes.
    #[error("the routing folder {folder} has mistakes:\n{problems}", folder = folder.display())]
    Routing {
        /// The folder.
        folder: PathBuf,
        /// All of them.
        problems: Problems,
    },
    /// A handler has the name of an agent.
    #[error("{0}")]
    Handlers(String),
    /// The ledger cannot be opened, or belongs to another cluster.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An agent's client cannot be built.
    #[error(transparent)]
    Agent(#[from] ConnectError),
    /// The admin address is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The metrics recorder cannot be installed.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The Kafka client ended.
    #[error(transparent)]
    Kafka(KafkaError),
    /// The client for the spool's events cannot be made.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A defect.
    #[error("{0}")]
    Defect(String),
}

impl BridgeError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Routing { .. } | Self::Handlers(_) | Self::Agent(_) | Self::Publish(_) => Exit::Config,
            Self::Open(_) | Self::Ledger(_) => Exit::Io,
            Self::Bind(_) | Self::Kafka(_) => Exit::Unavailable,
            Self::Metrics(_) | Self::Defect(_) => Exit::Software,
        }
    }
}

impl From<KafkaError> for BridgeError {
    /// The ledger refuses a cluster that is not its own: then the error is the ledger's.
    fn from(error: KafkaError) -> Self {
        let refusal = match &error {
            KafkaError::ClusterRefused { source, .. } => source.downcast_ref::<OpenError>().cloned(),
            _ => None,
        };
        refusal.map_or(Self::Kafka(error), Self::Open)
    }
}

impl From<PipelineError> for BridgeError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Ledger(error) => Self::Ledger(error),
            lost @ PipelineError::Lost(_) => Self::Defect(lost.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_cluster_that_the_ledger_refuses_is_an_error_of_the_ledger() {
        let refusal = OpenError::Cluster { dir: "data".into(), expected: "a".into(), found: "b".into() };
        let error = KafkaError::ClusterRefused { cluster: "a".into(), source: Arc::new(refusal.clone()) };
        let error = BridgeError::from(error);
        assert_eq!((error.exit(), error.to_string()), (Exit::Io, refusal.to_string()));
        assert_eq!(BridgeError::from(KafkaError::Died).exit(), Exit::Unavailable);
    }
}
