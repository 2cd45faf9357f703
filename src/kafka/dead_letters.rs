//! Dead letters: what could not be delivered, kept with its original bytes and the reason.
//!
//! Owns the dead-letter topics: their creation, and the writing of one letter until the broker has
//! acknowledged it. Its invariant: [`DeadLetters::send`] says `Ok` only after that
//! acknowledgement. A letter that is too large is written in a smaller form (see `letter`), the
//! last of which fits every topic. Letters are at least once; what tells them apart is the
//! coordinates of the record, the rule and the agent.

mod letter;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    config::FromClientConfigAndContext,
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
};
use tokio::time::Instant;

pub use letter::DeadLetter;
use letter::Form;

use super::{
    KafkaError, KafkaSettings, client,
    report::{Area, Listener, Reporter},
};
use crate::{
    connection::{self, advice},
    event::Origin,
    telemetry,
};

/// What the bridge's own headers may add to a record.
const ROOM_FOR_HEADERS: u64 = 64 << 10;
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a topic that could not be created is left alone.
const CREATE_AGAIN_AFTER: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LOG_EVERY: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Writes dead letters.
pub struct DeadLetters {
    settings: KafkaSettings,
    /// Replaced when librdkafka declares it failed for good.
    producer: Mutex<FutureProducer<Listener>>,
    admin: Arc<AdminClient<Listener>>,
    reporter: Arc<Reporter>,
    /// The topics that exist, or when their creation failed.
    topics: tokio::sync::Mutex<HashMap<String, Option<Instant>>>,
    logged: Mutex<Option<Instant>>,
}

/// A dead letter that is not written yet. Every kind of it is worth trying again: the record's
/// offset must not complete before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterError {
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
    /// The caller stopped waiting for it.
    #[error("dead letter of {origin} was not written before the bridge stopped: its record is read again")]
    Stopped {
        /// The record.
        origin: Origin,
    },
}

impl DeadLetterError {
    /// A stable word for labels.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotAcknowledged { .. } => "not_acknowledged",
            Self::Denied { .. } => "denied",
            Self::TooLarge { .. } => "too_large",
            Self::Stopped { .. } => "stopped",
        }
    }
}

impl DeadLetters {
    /// Makes the producer; connects when the first letter is written.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        client::validated(settings)?;
        let reporter = Arc::new(Reporter::new("dead letters"));
        let admin = AdminClient::from_config_and_context(&client::producer(settings), Listener(Arc::clone(&reporter)))
            .map_err(|error| KafkaError::Client { role: "dead-letter producer", reason: connection::reason(&error) })?;
        Ok(Self {
            producer: Mutex::new(producer(settings, &reporter)?),
            reporter,
            settings: settings.clone(),
            admin: Arc::new(admin),
            topics: tokio::sync::Mutex::default(),
            logged: Mutex::default(),
        })
    }

    /// Writes one letter: one try in each form until one fits. `Ok` when the broker has it.
    pub async fn send(&self, letter: &DeadLetter) -> Result<(), DeadLetterError> {
        let topic = self.settings.dead_letter_topic(&letter.origin.topic);
        self.ensure(&letter.origin.topic, &topic).await;
        for form in Form::ALL {
            match self.write(&topic, letter, form).await {
                Ok(()) => {
                    metrics::counter!(telemetry::DEAD_LETTERS, "reason" => letter.reason).increment(1);
                    for area in [Area::Connection, Area::Topic, Area::Other] {
                        self.reporter.works(area);
                    }
                    if form != Form::Whole {
                        tracing::warn!(
                            origin = %letter.origin, topic, left_out = form.left_out(),
                            advice = "raise the dead-letter topic's max.message.bytes above the source topic's",
                            "dead letter did not fit and was cut"
                        );
                    }
                    return Ok(());
                }
                Err(error) if is_too_large(&error) => {}
                Err(error) => return Err(self.failed(letter, topic, &error).await),
            }
        }
        metrics::counter!(telemetry::DEAD_LETTER_FAILURES).increment(1);
        Err(DeadLetterError::TooLarge { origin: letter.origin.clone(), topic })
    }

    /// Writes one letter, again and again until the broker has it, or until `stop` resolves.
    pub async fn deliver(&self, letter: &DeadLetter, stop: impl Future<Output = ()>) -> Result<(), DeadLetterError> {
        let attempts = async {
            let mut wait = FIRST_WAIT;
            loop {
                match self.send(letter).await {
                    Ok(()) => return,
                    Err(error) => {
                        if self.may_log() {
                            tracing::warn!(
                                %error, wait_ms = wait.as_millis(),
                                "dead letter not written yet (said at most each 5 s, for one of those that wait)"
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
            () = stop => Err(DeadLetterError::Stopped { origin: letter.origin.clone() }),
        }
    }

    /// Thousands of letters may wait for one broker.
    fn may_log(&self) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let due = logged.is_none_or(|at| at.elapsed() >= LOG_EVERY);
        if due {
            *logged = Some(Instant::now());
        }
        due
    }

    async fn write(&self, topic: &str, letter: &DeadLetter, form: Form) -> Result<(), RdError> {
        let record = letter.record(form);
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in &record.headers {
            headers = headers.insert(Header { key: name, value: value.as_deref() });
        }
        let sent = {
            let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
            producer.send_result(FutureRecord {
                topic,
                partition: None,
                payload: record.value,
                key: record.key,
                timestamp: None,
                headers: Some(headers),
            })
        };
        match sent.map_err(|(error, _)| error)?.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(error),
            Err(_) => Err(RdError::Canceled),
        }
    }

    async fn failed(&self, letter: &DeadLetter, topic: String, error: &RdError) -> DeadLetterError {
        metrics::counter!(telemetry::DEAD_LETTER_FAILURES).increment(1);
        let code = error.rdkafka_error_code();
        if matches!(code, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)) {
            self.topics.lock().await.remove(&topic);
        }
        self.replace_if_dead();
        let origin = letter.origin.clone();
        let reason = connection::reason(error);
        let advice = code.map_or("it is tried again", |code| advice(code, &reason).1);
        match code {
            Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                DeadLetterError::Denied { origin, topic, reason, advice }
            }
            _ => DeadLetterError::NotAcknowledged { origin, topic, reason, advice },
        }
    }

    /// An idempotent producer can fail for good; the letters go on with a new one.
    fn replace_if_dead(&self) {
        let mut current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((code, reason)) = current.client().fatal_error() else { return };
        match producer(&self.settings, &self.reporter) {
            Ok(fresh) => {
                tracing::warn!(?code, reason, "dead-letter producer failed for good and was replaced");
                *current = fresh;
            }
            Err(error) => tracing::error!(%error, "dead-letter producer cannot be replaced"),
        }
    }

    /// Creates the dead-letter topic when it is absent and we may: with the source's partitions, the
    /// cluster's replication, and room for the headers. Whatever happens, the letter is tried next.
    async fn ensure(&self, source: &str, topic: &str) {
        let mut topics = self.topics.lock().await;
        match topics.get(topic) {
            Some(None) => return,
            Some(Some(failed)) if failed.elapsed() < CREATE_AGAIN_AFTER => return,
            _ => {}
        }
        if self.exists(topic).await {
            topics.insert(topic.to_owned(), None);
            return;
        }
        let partitions = self.partitions(source).await.unwrap_or(1);
        let max_bytes = self.max_message_bytes(source).await.map(|bytes| (bytes + ROOM_FOR_HEADERS).to_string());
        let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        if let Some(max_bytes) = &max_bytes {
            wanted = wanted.set("max.message.bytes", max_bytes);
        }
        let problem = match self.admin.create_topics([&wanted], &options()).await {
            Ok(results) => match results.into_iter().next() {
                Some(Ok(_)) => {
                    tracing::info!(topic, partitions, max_bytes, "dead-letter topic created");
                    None
                }
                None | Some(Err((_, Code::TopicAlreadyExists))) => None,
                Some(Err((_, code))) => Some(code.to_string()),
            },
            Err(error) => Some(connection::reason(&error)),
        };
        let state = match problem {
            None => None,
            Some(_) if self.partitions(topic).await.is_some() => None,
            Some(reason) => {
                let advice = "create it with the source topic's partitions and 64 KiB more max.message.bytes, or grant our user CREATE on it; letters are tried until then";
                tracing::error!(topic, reason, advice, "dead-letter topic is absent and cannot be created");
                Some(Instant::now())
            }
        };
        topics.insert(topic.to_owned(), state);
    }

    /// How many partitions a topic has; `None` when it does not exist, or nobody answers.
    /// Looks through all topics: a broker that creates topics on request would create one that is
    /// asked for by name, without room for the headers.
    async fn exists(&self, topic: &str) -> bool {
        let admin = Arc::clone(&self.admin);
        let asked = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, ADMIN_TIMEOUT));
        let Ok(Ok(metadata)) = asked.await else { return false };
        metadata.topics().iter().any(|found| found.name() == topic && found.error().is_none())
    }

    async fn partitions(&self, topic: &str) -> Option<i32> {
        let (admin, topic) = (Arc::clone(&self.admin), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(Some(&topic), ADMIN_TIMEOUT));
        let metadata = asked.await.ok()?.ok()?;
        let found = metadata.topics().iter().find(|found| found.error().is_none())?;
        i32::try_from(found.partitions().len()).ok().filter(|partitions| *partitions > 0)
    }

    async fn max_message_bytes(&self, topic: &str) -> Option<u64> {
        let described = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await.ok()?;
        let resource = described.into_iter().next()?.ok()?;
        resource.get("max.message.bytes")?.value.as_deref()?.parse().ok()
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).operation_timeout(Some(ADMIN_TIMEOUT))
}

fn producer(settings: &KafkaSettings, reporter: &Arc<Reporter>) -> Result<FutureProducer<Listener>, KafkaError> {
    let mut config = client::producer(settings);
    // A topic's limit is one of batches: letters that fit alone must not be refused together.
    config.set("batch.num.messages", "1");
    FutureProducer::from_config_and_context(&config, Listener(Arc::clone(reporter)))
        .map_err(|error| KafkaError::Client { role: "dead-letter producer", reason: connection::reason(&error) })
}

fn is_too_large(error: &RdError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge))
}
