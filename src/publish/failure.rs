//! Why the broker does not have a record.

/// Why the broker does not have a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What librdkafka says, and what to do.
    pub(super) reason: String,
    pub(super) cause: Cause,
}

/// What is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The brokers, the network or the client: other records fail too.
    Cluster,
    /// This topic: other topics may take records.
    Topic,
    /// This record: its topic accepts none of this size.
    RecordTooLarge,
    /// The settings: librdkafka makes no client of them.
    Settings,
}

impl Failure {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self::caused_by(Cause::Cluster, reason)
    }

    pub(super) fn caused_by(cause: Cause, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), cause }
    }

    /// The client was closed while a call used it.
    pub(super) fn closed() -> Self {
        Self::new("the client was closed meanwhile: make a new one")
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.cause == Cause::RecordTooLarge
    }

    /// Other topics may take records.
    pub(super) fn is_of_topic(&self) -> bool {
        matches!(self.cause, Cause::Topic | Cause::RecordTooLarge)
    }
}
