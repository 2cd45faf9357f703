//! Why the bridge did not start, or ended by itself.

use std::path::PathBuf;

use super::exit::Exit;
use crate::{
    admin::{BindError, MetricsError},
    agents::ConnectError,
    dedup::OpenError,
    kafka::KafkaError,
    publish::PublishError,
    routing::Problems,
    running::PartError,
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
    /// A part that every bridge has.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The admin address is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The metrics recorder cannot be installed.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The client for the spool's events cannot be made.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl BridgeError {
    pub(crate) fn defect(text: String) -> Self {
        Self::Part(PartError::Defect(text))
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Routing { .. } | Self::Publish(_) | Self::Part(PartError::Handlers(_) | PartError::Agent(_)) => {
                Exit::Config
            }
            Self::Part(PartError::Open(_) | PartError::Ledger(_)) => Exit::Io,
            Self::Bind(_) | Self::Part(PartError::Kafka(_)) => Exit::Unavailable,
            Self::Metrics(_) | Self::Part(PartError::Defect(_)) => Exit::Software,
        }
    }
}

impl From<KafkaError> for BridgeError {
    fn from(error: KafkaError) -> Self {
        Self::Part(error.into())
    }
}

impl From<ConnectError> for BridgeError {
    fn from(error: ConnectError) -> Self {
        Self::Part(error.into())
    }
}

impl From<OpenError> for BridgeError {
    fn from(error: OpenError) -> Self {
        Self::Part(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_which_part_it_was() {
        let refusal = OpenError::Cluster { dir: "data".into(), expected: "a".into(), found: "b".into() };
        assert_eq!(BridgeError::from(refusal).exit(), Exit::Io);
        assert_eq!(BridgeError::from(KafkaError::Died).exit(), Exit::Unavailable);
        assert_eq!(BridgeError::defect("a defect".into()).exit(), Exit::Software);
    }
}
