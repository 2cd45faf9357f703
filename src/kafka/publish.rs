//! Events out: one at a time, each acknowledged by every in-sync replica.
//!
//! Owns how an event becomes a record: the key `workflow_id/workflow_run_id`, which keeps the
//! events of a run in order, and the headers. It spools nothing and retries nothing beyond what
//! librdkafka does in 30 s.

use rdkafka::{
    config::FromClientConfigAndContext,
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
};

use super::{KafkaError, KafkaSettings, client, report::Reporter};
use crate::{
    connection::{self, advice},
    event::Event,
};

/// Publishes events.
#[derive(Clone)]
pub struct Producer(FutureProducer<Reporter>);

/// An event that was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The topic does not take a record of this size.
    #[error("event {event_id} is too large for topic {topic} ({bytes} bytes): raise the topic's max.message.bytes")]
    TooLarge {
        /// The event.
        event_id: String,
        /// The topic.
        topic: String,
        /// The size of its value.
        bytes: usize,
    },
    /// It was not acknowledged; it may or may not be in the topic.
    #[error("event {event_id} was not acknowledged by topic {topic}: {reason}: {advice}")]
    NotAcknowledged {
        /// The event.
        event_id: String,
        /// The topic.
        topic: String,
        /// What librdkafka says.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
}

impl PublishError {
    /// A stable word for labels.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::NotAcknowledged { .. } => "not_acknowledged",
        }
    }
}

impl Producer {
    /// Makes a producer; connects when the first event is published.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        client::validated(settings)?;
        FutureProducer::from_config_and_context(&client::producer(settings), Reporter::new("producer"))
            .map(Self)
            .map_err(|error| KafkaError::Client { role: "producer", reason: connection::reason(&error) })
    }

    /// Publishes one event, and waits until it is acknowledged: its partition and offset.
    pub async fn publish(
        &self,
        topic: &str,
        event: &Event,
        traceparent: Option<&str>,
    ) -> Result<(i32, i64), PublishError> {
        let (key, value) = (event.key(), event.encode());
        let mut headers = OwnedHeaders::new_with_capacity(4)
            .insert(Header { key: "event_id", value: Some(event.id()) })
            .insert(Header { key: "event_type", value: Some(event.event_type().as_str()) })
            .insert(Header { key: "content-type", value: Some("application/json") });
        if let Some(traceparent) = traceparent {
            headers = headers.insert(Header { key: "traceparent", value: Some(traceparent) });
        }
        let record = FutureRecord::to(topic).key(&key).payload(&value).headers(headers);
        let failed = |error: RdError| match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) => {
                PublishError::TooLarge { event_id: event.id().into(), topic: topic.into(), bytes: value.len() }
            }
            Some(Code::MessageTimedOut) => PublishError::NotAcknowledged {
                event_id: event.id().into(),
                topic: topic.into(),
                reason: "no broker took it within 30 s".into(),
                advice: "check KAFKA_BOOTSTRAP_SERVERS and whether the broker runs, then publish it again: a repeat is a duplicate",
            },
            code => PublishError::NotAcknowledged {
                event_id: event.id().into(),
                topic: topic.into(),
                reason: connection::reason(&error),
                advice: code.map_or("publish it again", |code| advice(code).1),
            },
        };
        match self.0.send(record, std::time::Duration::from_secs(30)).await {
            Ok(delivery) => Ok((delivery.partition, delivery.offset)),
            Err((error, _)) => {
                let fatal = self.0.client().fatal_error();
                Err(failed(fatal.map_or(error, |(code, _)| RdError::MessageProduction(code))))
            }
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Producer")
    }
}
