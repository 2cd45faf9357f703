//! Why a part of a bridge did not start, or ended by itself.

use crate::{
    agents::ConnectError,
    dedup::{LedgerError, OpenError},
    kafka::KafkaError,
    pipeline::PipelineError,
};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
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
    /// The Kafka client ended.
    #[error(transparent)]
    Kafka(KafkaError),
    /// A defect.
    #[error("{0}")]
    Defect(String),
}

impl PartError {
    /// Which part it is of, in one word.
    pub(crate) fn part(&self) -> &'static str {
        match self {
            Self::Open(_) | Self::Ledger(_) => "ledger",
            Self::Kafka(_) => "kafka",
            Self::Handlers(_) | Self::Agent(_) | Self::Defect(_) => "defect",
        }
    }

    /// Whether somebody has the ledger open.
    pub(crate) fn is_of_ledger_in_use(&self) -> bool {
        matches!(self, Self::Open(OpenError::Locked { .. }))
    }
}

impl From<KafkaError> for PartError {
    /// The ledger refuses a cluster that is not its own: then the error is the ledger's.
    fn from(error: KafkaError) -> Self {
        let refusal = match &error {
            KafkaError::ClusterRefused { source, .. } => source.downcast_ref::<OpenError>().cloned(),
            _ => None,
        };
        refusal.map_or(Self::Kafka(error), Self::Open)
    }
}

impl From<PipelineError> for PartError {
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
        let error = PartError::from(error);
        assert_eq!((error.part(), error.to_string()), ("ledger", refusal.to_string()));
        assert_eq!(PartError::from(KafkaError::Died).part(), "kafka");
    }
}
