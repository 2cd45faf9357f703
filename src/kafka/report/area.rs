//! What an error of the Kafka client is about.

use rdkafka::error::RDKafkaErrorCode as Code;

/// What has to work again before an error is resolved. The order is that of the status: a cause before its
/// consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Area {
    /// Membership of the group.
    Group,
    /// The topics: that they exist, and that we may describe them.
    Topic,
    /// Fetching from a partition.
    Fetch,
    /// Connections to the brokers, each at its own address.
    Connection,
    /// Committing.
    Commit,
    /// Anything else.
    Other,
}

impl Area {
    pub(super) fn of(code: Code, kind: &str, reason: &str) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        let group = ["JoinGroup", "SyncGroup", "ConsumerGroupHeartbeat", "FindCoordinator response", "in group "];
        if says(&group)
            || matches!(code, Code::GroupAuthorizationFailed | Code::InconsistentGroupProtocol | Code::PollExceeded)
        {
            return Self::Group;
        }
        if is_fetch_error(code) || says(&["Fetch from broker", "receive.message.max.bytes"]) {
            return Self::Fetch;
        }
        match kind {
            "topic" => Self::Topic,
            "transport" | "tls" | "authentication" => Self::Connection,
            "commit" => Self::Commit,
            _ => Self::Other,
        }
    }
}

/// Whether the error says that something was fetched and cannot be read.
pub(in super::super) fn is_fetch_error(code: Code) -> bool {
    matches!(
        code,
        Code::BadCompression
            | Code::BadMessage
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::MessageSizeTooLarge
            | Code::NotImplemented
    )
}
