//! The parked topics: deliveries that wait until their agent works again.
//!
//! Each source topic has a parked topic with as many partitions: who owns a partition of the one owns that partition of the
//! other. Owns the writing of one parked delivery until the broker has acknowledged it, the topics, and the reading of parts
//! of them. Its invariant: [`ParkedTopics::park`] returns an offset only after that acknowledgement, and nothing is ever cut
//! to fit. A delivery may be there more than once, after a crash or an acknowledgement that was lost: which one counts is
//! not its business.

mod delivery;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod reader;
mod topic;

use std::{sync::Arc, time::Duration};

use rdkafka::{
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::{Header, OwnedHeaders},
};
use tokio::time::Instant;

pub(crate) use delivery::{ParkedDelivery, ParkedHead, ParkedHeaders};
use reader::ParkedReader;
pub(crate) use reader::{ReadEnd, ReadError, ReadFrom, Visit, Visited, Visitor};
use topic::Topics;
pub(super) use topic::WANTED_CONFIG;

use super::{
    error::KafkaError,
    report::{Area, Reporter},
    sender::{Outgoing, Sender},
    settings::KafkaSettings,
    validate::validated,
};
use crate::{
    connection::{self, advice},
    event::Origin,
    throttle::Throttle,
};

const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How often a delivery is tried.
const TRIES: u32 = 5;
/// A record without an answer for this long is tried again. The broker may have both then.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
const LOG_EVERY: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct ParkedTopics {
    settings: KafkaSettings,
    sender: Sender,
    topics: Topics,
    reader: ParkedReader,
    reporter: Arc<Reporter>,
    /// Thousands of deliveries may wait for one broker.
    throttle: Throttle<()>,
    removal_failed: Throttle<()>,
}

/// Why a delivery was not parked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParkError {
    /// Its record does not fit.
    #[error(
        "the delivery of {origin} does not fit topic {topic}: raise the topic's max.message.bytes above the source topic's"
    )]
    TooLarge {
        /// The event's record.
        origin: Origin,
        /// The parked topic.
        topic: String,
    },
    /// It was tried a few times, and the broker may have it or not.
    #[error("the delivery of {origin} was not accepted by topic {topic}: {reason}")]
    Refused {
        /// The event's record.
        origin: Origin,
        /// The parked topic.
        topic: String,
        /// The last error, and what to do.
        reason: String,
    },
    /// The caller gave up, and does not know whether the broker has it.
    #[error("the delivery of {origin} was not parked before its partition was given up")]
    Stopped {
        /// The event's record.
        origin: Origin,
    },
}

/// One attempt that failed.
enum Failed {
    TooLarge,
    Again(String),
}

impl ParkedTopics {
    /// Makes the clients; they connect when something is parked or read.
    pub(crate) fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        validated(settings)?;
        let reporter = Arc::new(Reporter::new("parked deliveries"));
        Ok(Self {
            sender: Sender::start("producer of parked deliveries", settings, &reporter, SEND_TIMEOUT)?,
            topics: Topics::new(settings, &reporter),
            reader: ParkedReader::start(settings, &reporter)?,
            settings: settings.clone(),
            reporter,
            throttle: Throttle::every(LOG_EVERY),
            removal_failed: Throttle::once(1),
        })
    }

    /// The name of the parked topic of a source topic.
    pub(crate) fn name(&self, source: &str) -> String {
        self.settings.parked_topic(source)
    }

    /// Creates the parked topic of a source topic, if it is absent and that is allowed. Otherwise that was logged, and is
    /// tried again when something is parked. True when this partition existed before.
    pub(crate) async fn prepare(&self, source: &str, partition: i32) -> bool {
        self.topics.ensure(source, partition).await.is_ok_and(|existed| existed)
    }

    /// Parks one delivery, and tries a few times until the broker has it, unless `stop` resolves. Returns its offset.
    pub(crate) async fn park(
        &self,
        delivery: &ParkedDelivery,
        stop: impl Future<Output = ()>,
    ) -> Result<i64, ParkError> {
        let (origin, topic) = (|| delivery.origin.clone(), self.name(&delivery.origin.topic));
        let attempts = async {
            let (mut tries, mut wait) = (0, FIRST_WAIT);
            loop {
                tries += 1;
                let error = match self.write(&topic, delivery).await {
                    Ok(offset) => return Ok(offset),
                    Err(Failed::TooLarge) => {
                        return Err(ParkError::TooLarge { origin: origin(), topic: topic.clone() });
                    }
                    Err(Failed::Again(reason)) if tries == TRIES => {
                        return Err(ParkError::Refused { origin: origin(), topic: topic.clone(), reason });
                    }
                    Err(Failed::Again(error)) => error,
                };
                if let Some(suppressed) = self.throttle.admit(&(), Instant::now().into_std()) {
                    tracing::warn!(
                        topic,
                        error,
                        wait_ms = wait.as_millis(),
                        suppressed,
                        "delivery not parked yet (logged at most every 5 s, for one of those that wait)"
                    );
                }
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        };
        tokio::select! {
            biased;
            parked = attempts => parked,
            () = stop => Err(ParkError::Stopped { origin: origin() }),
        }
    }

    /// Removes what has its end: the records of a partition below an offset. Not being allowed to costs room only.
    pub(crate) async fn remove_before(&self, topic: &str, partition: i32, offset: i64) {
        let Err(error) = self.topics.remove_before(topic, partition, offset).await else { return };
        if self.removal_failed.admit(&(), Instant::now().into_std()).is_some() {
            tracing::warn!(
                topic,
                partition,
                offset,
                error,
                advice = "grant our user DELETE on the topic, or remove old records yourself",
                "parked deliveries that have ended stay in their topic (logged once)"
            );
        }
    }

    /// Reads a part of one partition of a source topic's parked topic; see [`ReadEnd`].
    pub(crate) async fn read(
        &self,
        (source, partition): (&str, i32),
        from: ReadFrom,
        until: Option<i64>,
        visitor: Visitor,
    ) -> Result<ReadEnd, ReadError> {
        self.reader.read((source, &self.name(source)), partition, from, until, visitor).await
    }

    /// The error of a read whose answer cannot be right.
    pub(crate) fn unreadable(&self, (source, partition): (&str, i32), reason: &str) -> ReadError {
        ReadError::new(&self.name(source), partition, reason)
    }

    /// One attempt to write it.
    async fn write(&self, topic: &str, delivery: &ParkedDelivery) -> Result<i64, Failed> {
        let source = &delivery.origin.topic;
        let _existed = self.topics.ensure(source, delivery.origin.partition).await.map_err(Failed::Again)?;
        match self.send(topic, delivery).await {
            Ok(offset) => {
                for area in [Area::Connection, Area::Topic, Area::Other] {
                    self.reporter.resolved(area);
                }
                Ok(offset)
            }
            Err(error) => match error.rdkafka_error_code() {
                Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => Err(Failed::TooLarge),
                code => {
                    if matches!(code, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition))
                    {
                        self.topics.forget(source).await;
                    }
                    let reason = connection::reason(&error);
                    let advice = code.map_or("it is retried", |code| advice(code, &reason).1);
                    Err(Failed::Again(format!("{reason}: {advice}")))
                }
            },
        }
    }

    async fn send(&self, topic: &str, delivery: &ParkedDelivery) -> Result<i64, RdError> {
        let mut headers = OwnedHeaders::new();
        for (name, value) in &delivery.record_headers() {
            headers = headers.insert(Header { key: name, value: value.as_deref() });
        }
        let outgoing = Outgoing {
            topic,
            partition: Some(delivery.origin.partition),
            key: delivery.key.as_deref(),
            value: delivery.value.as_deref(),
            headers,
        };
        self.sender.send(outgoing).await
    }
}

impl std::fmt::Debug for ParkedTopics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParkedTopics").finish_non_exhaustive()
    }
}
