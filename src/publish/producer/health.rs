//! What librdkafka has complained about, and what an error means for a record.

use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};

use crate::{
    connection::{advice, reason},
    publish::failure::{Cause, Failure},
    sync::Mutex,
};

/// The last complaint of one producer.
#[derive(Default)]
pub(super) struct Health {
    last_error: Mutex<Option<(Code, String)>>,
    /// Spares each acknowledgement the lock.
    has_error: AtomicBool,
    is_dead: AtomicBool,
}

impl Health {
    pub(super) fn record_error(&self, code: Code, text: &str) {
        let mut last = self.last_error.lock();
        // "All brokers are down" and "fatal" are consequences: the error before them says more.
        if last.is_none() || !matches!(code, Code::AllBrokersDown | Code::Fatal) {
            *last = Some((code, text.to_owned()));
            self.has_error.store(true, Ordering::Relaxed);
        }
    }

    /// A broker acknowledged something: older errors explain nothing any more.
    pub(super) fn clear_error(&self) {
        if self.has_error.swap(false, Ordering::Relaxed) {
            *self.last_error.lock() = None;
        }
    }

    pub(super) fn set_dead(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    /// Whether librdkafka has reached a state that it cannot leave.
    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Why no acknowledgement comes: the last error, and what to do.
    pub(super) fn explain(&self) -> (String, &'static str) {
        match &*self.last_error.lock() {
            Some((code, text)) => (text.clone(), advice(*code, text).1),
            None => (
                "nothing was heard, and no error either".into(),
                "check that the topic exists, that bootstrap_servers names a Kafka listener, and that the broker is not overloaded",
            ),
        }
    }

    /// What an error means for a record of this size.
    pub(super) fn failure(&self, error: &RdError, bytes: usize) -> Failure {
        let code = error.rdkafka_error_code();
        match code {
            Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => Failure::caused_by(
                Cause::RecordTooLarge,
                format!(
                    "it is too large for the topic ({bytes} bytes): raise the topic's max.message.bytes, or put a \
                     reference into the payload"
                ),
            ),
            Some(Code::MessageTimedOut | Code::RequestTimedOut) => {
                let (error, advice) = self.explain();
                Failure::new(format!("no broker took it in time: {error}: {advice}"))
            }
            Some(Code::PurgeQueue | Code::PurgeInflight | Code::Fatal) => {
                let (error, advice) = self.explain();
                Failure::new(if self.is_dead() {
                    format!("the client has failed for good: {error}: {advice}")
                } else if self.last_error.lock().is_none() {
                    "the client was closed before the broker acknowledged it: flush first, or give the close more time"
                        .into()
                } else {
                    format!("the client was closed before the broker acknowledged it: {error}: {advice}")
                })
            }
            Some(Code::QueueFull) => {
                Failure::new("the client's queue is full: publish less at once, or wait for flush")
            }
            Some(code) => {
                let reason = reason(error);
                let cause = if is_of_topic(code) { Cause::Topic } else { Cause::Cluster };
                Failure::caused_by(cause, format!("{reason}: {}", advice(code, &reason).1))
            }
            None => Failure::new(reason(error)),
        }
    }
}

/// Whether an error says something of one topic only.
fn is_of_topic(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::TopicAuthorizationFailed
            | Code::InvalidTopic
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
    )
}
