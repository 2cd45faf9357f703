//! What librdkafka's errors mean, and how to fix them.

use rdkafka::error::RDKafkaErrorCode as Code;

/// The kind of an error, for the metric's label, and the remedy.
///
/// Its text decides where it says more than the code: librdkafka reports a failed TLS handshake as `SSL` or as
/// `BrokerTransportFailure`, depending on when the answer came.
pub(crate) fn advice(code: Code, text: &str) -> (&'static str, &'static str) {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["alert bad certificate", "alert certificate", "alert unknown ca", "alert handshake failure"]) {
        return (
            "tls",
            "the broker refuses our certificate, or wants one and has got none: check ssl_certfile and ssl_keyfile (its dates, and whether the broker trusts who signed it)",
        );
    }
    if speaks_another_protocol(text) {
        return (
            "transport",
            "the listener closed the connection at the first request, as one of another protocol does: check \
             security.protocol and the port",
        );
    }
    if says(&["wrong version number"]) {
        return ("transport", "the listener answers, but not in TLS: check security.protocol and the port");
    }
    if says(&["SSL routines", "SSL handshake failed"]) {
        return advice_on_code(Code::SSL);
    }
    if says(&["receive.message.max.bytes"]) {
        return advice_on_code(Code::BadCompression);
    }
    if matches!(code, Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) && is_advertised(text) {
        return (
            "transport",
            "the address is the one that the cluster itself gives for this broker: check that the broker runs, and that \
             its advertised.listeners can be resolved and reached from here",
        );
    }
    advice_on_code(code)
}

/// Whether the text is about a broker at its advertised address. librdkafka names such a broker `host:port/1`, and the
/// group's coordinator `GroupCoordinator`; a broker of the settings is `host:port/bootstrap`.
fn is_advertised(text: &str) -> bool {
    let name = text.split_whitespace().next().unwrap_or_default().trim_end_matches(':');
    let id = name.rsplit_once('/').map_or("", |(_, id)| id);
    name == "GroupCoordinator" || (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a listener closed the connection at the first request. No error says so, only the log, and each version of
/// librdkafka words it differently.
pub(crate) fn speaks_another_protocol(text: &str) -> bool {
    let began = ["APIVERSION_QUERY", "SSL_HANDSHAKE"];
    text.contains("security.protocol")
        || (text.contains("Disconnected") && began.iter().any(|state| text.contains(state)))
}

fn advice_on_code(code: Code) -> (&'static str, &'static str) {
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
        Code::AllBrokersDown => (
            "transport",
            "no broker can be reached: check that they run, bootstrap_servers, security.protocol, the addresses that they \
             advertise (advertised.listeners) and the network",
        ),
        Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
            ("transport", "the broker does not answer: check bootstrap_servers, security.protocol and the network")
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::InvalidTopic => {
            ("topic", "the topic does not exist yet: create it, or check the topic's name")
        }
        Code::InvalidTimestamp => (
            "topic",
            "the broker rejects the record's timestamp: compare this host's clock with the broker's, and check the topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms",
        ),
        Code::TopicAuthorizationFailed => (
            "topic",
            "our user may not use the topic: grant it WRITE to publish (a dead-letter topic too), READ and DESCRIBE to read",
        ),
        Code::GroupAuthorizationFailed => {
            ("authentication", "our user may not use the consumer group: grant it READ on the group, or check group_id")
        }
        Code::InconsistentGroupProtocol => (
            "other",
            "another member of the group uses another partition.assignment.strategy or group.protocol (the bridge's is \
             cooperative-sticky): stop the other members, or use another group_id",
        ),
        Code::BadCompression | Code::BadMessage => (
            "fetch",
            "a batch cannot be read, most often because it is larger than receive.message.max.bytes: raise it under \
             kafka.properties, or skip the offset (docs/kafka.md, \"A stuck partition\")",
        ),
        Code::ClusterAuthorizationFailed => {
            ("authentication", "our user lacks a permission on the cluster: grant it IDEMPOTENT_WRITE")
        }
        Code::PollExceeded => (
            "other",
            "the consumer was away from polling for longer than max.poll.interval.ms: the process was stopped, or starved of CPU",
        ),
        Code::Inconsistent => (
            "other",
            "a later record was acknowledged and this one was not, so it may be missing: it has to be sent again, and a second \
             copy does no harm",
        ),
        _ => ("other", "librdkafka continues by itself"),
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
            (Code::AllBrokersDown, "transport", "security.protocol"),
            (Code::InconsistentGroupProtocol, "other", "group_id"),
            (Code::BadCompression, "fetch", "receive.message.max.bytes"),
            (Code::UnknownTopicOrPartition, "topic", "topic's name"),
            (Code::GroupAuthorizationFailed, "authentication", "group_id"),
            (Code::InvalidTimestamp, "topic", "this host's clock"),
            (Code::Inconsistent, "other", "sent again"),
        ] {
            let (found, advice) = advice(code, "");
            assert_eq!(found, kind);
            assert!(advice.contains(setting), "{code:?}: {advice}");
        }
    }

    #[test]
    fn a_refused_certificate_and_another_protocol_are_recognised_by_their_text() {
        let transport = Code::BrokerTransportFailure;
        let alert = "SSL handshake failed: ssl/tls alert bad certificate: SSL alert number 42";
        assert!(advice(transport, alert).1.contains("ssl_certfile"));
        assert!(advice(transport, "might be caused by incorrect security.protocol").1.contains("the port"));
        for closed in [
            "Disconnected: connection closed by peer: receive 0 after POLLIN (after 1ms in state APIVERSION_QUERY)",
            "Disconnected: SSL connection closed by peer (after 1ms in state SSL_HANDSHAKE)",
            "SSL handshake failed: Disconnected: connection closed by peer: connecting to a PLAINTEXT broker \
             listener? (after 3ms in state SSL_HANDSHAKE)",
        ] {
            assert!(advice(transport, closed).1.contains("the port"), "{closed}");
        }
        let plain = "SSL handshake failed: error:0A00010B:SSL routines::wrong version number";
        assert!(advice(Code::SSL, plain).1.contains("not in TLS"));
        assert_eq!(advice(transport, "Connection refused"), advice_on_code(transport));
    }

    #[test]
    fn an_advertised_address_is_distinguished_from_one_of_the_settings() {
        for text in [
            "kafka:29092/1: Failed to resolve 'kafka:29092': Name or service not known (after 3ms in state CONNECT)",
            "sasl_ssl://kafka:29092/17: Connect to ipv4#10.0.0.1:29092 failed: Connection refused",
            "GroupCoordinator: kafka:29092: Failed to resolve 'kafka:29092'",
        ] {
            let advice = advice(Code::Resolve, text).1;
            assert!(
                advice.contains("advertised.listeners") && !advice.contains("bootstrap_servers"),
                "{text}: {advice}"
            );
        }
        let ours = "kafka:9092/bootstrap: Failed to resolve 'kafka:9092'";
        assert!(advice(Code::Resolve, ours).1.contains("bootstrap_servers"));
    }

    #[test]
    fn an_unverified_certificate_is_recognised_whichever_code_it_comes_with() {
        let late = "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate \
                    could not be verified (after 3ms in state SSL_HANDSHAKE)";
        let at_once = "error:0A000086:SSL routines::certificate verify failed (after 4ms in state SSL_HANDSHAKE)";
        for (code, text) in [(Code::SSL, late), (Code::BrokerTransportFailure, at_once)] {
            let (kind, advice) = advice(code, text);
            assert_eq!(kind, "tls", "{text}");
            assert!(advice.contains("ssl_cafile") && advice.contains("host names"), "{text}: {advice}");
        }
    }
}
