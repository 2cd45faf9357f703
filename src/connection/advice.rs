//! What librdkafka's errors mean to whoever has to mend them.

use rdkafka::error::RDKafkaErrorCode as Code;

/// What kind of error a code is, for the metric's label, and what to do about it.
pub(crate) fn advice(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => (
            "authentication",
            "the broker refuses our credentials: check security.sasl_mechanism, sasl_username and sasl_password",
        ),
        Code::SSL => (
            "tls",
            "the TLS handshake failed: check security.ssl_cafile, the broker's certificate (its host names and dates), ssl_certfile and ssl_keyfile",
        ),
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut => (
            "transport",
            "the broker does not answer: check bootstrap_servers, security.protocol and the network; waiting for it",
        ),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::InvalidTopic => {
            ("topic", "the topic does not exist yet: create it, or check topics; waiting for it")
        }
        Code::TopicAuthorizationFailed => {
            ("topic", "our user may not use the topic: grant it READ and DESCRIBE (and WRITE on the dead-letter topic)")
        }
        Code::GroupAuthorizationFailed => {
            ("authentication", "our user may not use the consumer group: grant it READ on the group, or check group_id")
        }
        Code::ClusterAuthorizationFailed => {
            ("authentication", "our user lacks a permission on the cluster: grant it IDEMPOTENT_WRITE")
        }
        Code::PollExceeded => (
            "other",
            "the consumer was away from polling for longer than max.poll.interval.ms: the process was stopped, or starved of CPU",
        ),
        _ => ("other", "librdkafka goes on by itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_names_the_setting_to_look_at() {
        for (code, kind, setting) in [
            (Code::Authentication, "authentication", "sasl_password"),
            (Code::SSL, "tls", "ssl_cafile"),
            (Code::AllBrokersDown, "transport", "bootstrap_servers"),
            (Code::UnknownTopicOrPartition, "topic", "topics"),
            (Code::GroupAuthorizationFailed, "authentication", "group_id"),
        ] {
            let (found, advice) = advice(code);
            assert_eq!(found, kind);
            assert!(advice.contains(setting), "{code:?}: {advice}");
        }
    }
}
