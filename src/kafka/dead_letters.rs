//! Dead letters: what could not be delivered, kept with its original bytes and the reason.
//!
//! Owns the writing of one dead letter until the broker has acknowledged it, and the dead-letter topics. Its invariant:
//! [`DeadLetters::send`] returns `Ok` only after that acknowledgement. A dead letter that is too large is written in a
//! smaller form (see `dead_letter`), the last of which fits every topic. Dead letters are at least once; the coordinates
//! of the record, the rule and the agent identify one.

mod dead_letter;
mod topics;

use std::{sync::Arc, time::Duration};

use rdkafka::{
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::{Header, OwnedHeaders},
};
use tokio::time::Instant;

pub(crate) use dead_letter::DeadLetter;
use dead_letter::Form;
use topics::DeadLetterTopics;
pub(super) use topics::ROOM_FOR_HEADERS;

use super::{
    client,
    error::KafkaError,
    report::{Area, Reporter},
    sender::{Outgoing, Sender},
    settings::KafkaSettings,
    validate::validated,
};
use crate::{
    connection::{self, advice},
    event::Origin,
    telemetry,
    throttle::Throttle,
};

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LOG_EVERY: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Writes dead letters.
pub(crate) struct DeadLetters {
    settings: KafkaSettings,
    sender: Sender,
    topics: DeadLetterTopics,
    reporter: Arc<Reporter>,
    /// Thousands of dead letters may wait for one broker.
    throttle: Throttle<()>,
}

/// A dead letter that is not written yet. Every kind is worth a retry: the record's offset must not complete before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeadLetterError {
    /// The broker did not acknowledge it.
    #[error("dead letter of {origin} was not acknowledged by topic {topic}: {reason}: {advice}")]
    NotAcknowledged {
        /// The record.
        origin: Origin,
        /// The dead-letter topic.
        topic: String,
        /// What librdkafka says.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// Our user may not write to the topic.
    #[error("dead letter of {origin} was refused by topic {topic}: {reason}: {advice}")]
    Denied {
        /// The record.
        origin: Origin,
        /// The dead-letter topic.
        topic: String,
        /// What librdkafka says.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// Not even the coordinates fit.
    #[error(
        "dead letter of {origin} does not fit topic {topic} even as bare coordinates: raise the topic's max.message.bytes"
    )]
    TooLarge {
        /// The record.
        origin: Origin,
        /// The dead-letter topic.
        topic: String,
    },
    /// The bridge stopped.
    #[error("dead letter of {origin} was not written before the bridge stopped: its record is read again")]
    Stopped {
        /// The record.
        origin: Origin,
    },
}

impl DeadLetters {
    /// Makes the producer; it connects when the first dead letter is written.
    pub(crate) fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        validated(settings)?;
        let reporter = Arc::new(Reporter::new("dead letters"));
        let topics = DeadLetterTopics::new(settings, &reporter);
        Ok(Self {
            sender: Sender::start("dead-letter producer", settings, &reporter, client::PATIENCE)?,
            reporter,
            settings: settings.clone(),
            topics,
            throttle: Throttle::every(LOG_EVERY),
        })
    }

    /// Writes one dead letter: one attempt in each form until one fits. `Ok` when the broker has it.
    pub(crate) async fn send(&self, dead_letter: &DeadLetter) -> Result<(), DeadLetterError> {
        let topic = self.settings.dead_letter_topic(&dead_letter.origin.topic);
        self.topics.ensure(&dead_letter.origin.topic, &topic).await;
        for form in Form::ALL {
            match self.write(&topic, dead_letter, form).await {
                Ok(()) => {
                    metrics::counter!(telemetry::DEAD_LETTERS, "reason" => dead_letter.reason).increment(1);
                    for area in [Area::Connection, Area::Topic, Area::Other] {
                        self.reporter.resolved(area);
                    }
                    if form != Form::Whole {
                        tracing::warn!(
                            topic = %dead_letter.origin.topic, partition = dead_letter.origin.partition,
                            offset = dead_letter.origin.offset, dead_letter_topic = topic, left_out = form.left_out(),
                            advice = "raise the dead-letter topic's max.message.bytes above the source topic's",
                            "dead letter did not fit and was cut"
                        );
                    }
                    return Ok(());
                }
                Err(error) if is_too_large(&error) => {}
                Err(error) => return Err(self.failed(dead_letter, topic, &error).await),
            }
        }
        metrics::counter!(telemetry::DEAD_LETTER_FAILURES).increment(1);
        Err(DeadLetterError::TooLarge { origin: dead_letter.origin.clone(), topic })
    }

    /// Writes one dead letter, and retries until the broker has it or `stop` resolves.
    pub(crate) async fn deliver(
        &self,
        dead_letter: &DeadLetter,
        stop: impl Future<Output = ()>,
    ) -> Result<(), DeadLetterError> {
        let attempts = async {
            let mut wait = FIRST_WAIT;
            loop {
                match self.send(dead_letter).await {
                    Ok(()) => return,
                    Err(error) => {
                        if let Some(suppressed) = self.throttle.admit(&(), Instant::now().into_std()) {
                            tracing::warn!(
                                %error, wait_ms = wait.as_millis(), suppressed,
                                "dead letter not written yet (logged at most every 5 s, for one of those that wait)"
                            );
                        }
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(LONGEST_WAIT);
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = attempts => Ok(()),
            () = stop => Err(DeadLetterError::Stopped { origin: dead_letter.origin.clone() }),
        }
    }

    async fn write(&self, topic: &str, dead_letter: &DeadLetter, form: Form) -> Result<(), RdError> {
        let record = dead_letter.record(form);
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in &record.headers {
            headers = headers.insert(Header { key: name, value: value.as_deref() });
        }
        let outgoing = Outgoing { topic, partition: None, key: record.key, value: record.value, headers };
        self.sender.send(outgoing).await.map(drop)
    }

    async fn failed(&self, dead_letter: &DeadLetter, topic: String, error: &RdError) -> DeadLetterError {
        metrics::counter!(telemetry::DEAD_LETTER_FAILURES).increment(1);
        let code = error.rdkafka_error_code();
        if matches!(code, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)) {
            self.topics.forget(&topic).await;
        }
        let origin = dead_letter.origin.clone();
        let reason = connection::reason(error);
        let advice = code.map_or("it is retried", |code| advice(code, &reason).1);
        match code {
            Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                DeadLetterError::Denied { origin, topic, reason, advice }
            }
            _ => DeadLetterError::NotAcknowledged { origin, topic, reason, advice },
        }
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn is_too_large(error: &RdError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge))
}
