//! Which errors say that the cluster refuses something for good.

use rdkafka::error::RDKafkaErrorCode as Code;

/// Whether asking again cannot help before somebody changes the cluster. Others pass: a broker that is away, an election,
/// brokers that the controller does not know yet.
pub(super) fn is_refusal(code: Option<Code>) -> bool {
    matches!(
        code,
        Some(
            Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::PolicyViolation
                | Code::InvalidConfig
                | Code::InvalidTopic
                | Code::InvalidPartitions
                | Code::InvalidRequest
                | Code::ThrottlingQuotaExceeded
                | Code::MessageSizeTooLarge
                | Code::InvalidRecord
        )
    )
}
