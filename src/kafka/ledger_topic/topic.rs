//! The ledger topic itself: that it exists, has the partitions that it needs, and keeps records for long enough.
//!
//! At the start a topic that cannot hold the ledger is an error; later it is a reason why partitions wait. Blocks: it runs
//! on the threads of the consumer.

mod config;
mod refused;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication},
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError as RdError, KafkaResult, RDKafkaErrorCode as Code},
    producer::{FutureProducer, FutureRecord},
    types::RDKafkaRespErr,
};

use super::{
    super::{
        client,
        error::KafkaError,
        report::{Reporter, ReportingContext},
        settings::KafkaSettings,
    },
    settings::LedgerTopicSettings,
};
use crate::{connection, sync::Mutex, throttle::Throttle};
pub(in crate::kafka) use config::{Finding, check, wanted};

const METADATA_TIMEOUT: Duration = Duration::from_secs(1);
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the one record that tries our user's rights is waited for.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_millis(250);
const LOG_EVERY: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct LedgerTopic {
    settings: KafkaSettings,
    ledger: LedgerTopicSettings,
    reporter: Arc<Reporter>,
    throttle: Throttle<()>,
    /// The clients that end. They are waited for: librdkafka must not be at work when the process ends.
    ending: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl LedgerTopic {
    pub(super) fn new(settings: &KafkaSettings, ledger: &LedgerTopicSettings) -> Self {
        let reporter = Arc::new(Reporter::new("ledger topic"));
        Self {
            settings: settings.clone(),
            ledger: ledger.clone(),
            reporter,
            throttle: Throttle::every(LOG_EVERY),
            ending: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.ledger.topic
    }

    /// How many partitions it has; `None` when it does not exist. (A consumer's request creates no topic.)
    pub(super) fn partitions<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) -> KafkaResult<Option<i32>> {
        partitions_of(consumer, &self.ledger.topic)
    }

    /// Creates the topic when it is absent, adds partitions when it has too few, and checks that it can hold the ledger.
    /// Waits for brokers as long as `alive` says so.
    pub(super) fn prepare<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        alive: &dyn Fn() -> bool,
    ) -> Result<(), KafkaError> {
        while alive() {
            match self.partitions(consumer) {
                Ok(Some(count)) => {
                    let wanted = self.wanted_partitions(consumer);
                    if count < wanted
                        && let Err(error) = self.grow(wanted)
                    {
                        let advice = "the source partitions without a ledger partition are not read until it has them";
                        tracing::error!(
                            topic = self.name(),
                            partitions = count,
                            wanted,
                            error,
                            advice,
                            "the ledger topic has fewer partitions than a source topic, and none can be added"
                        );
                    }
                    self.check_config()?;
                    return self.probe();
                }
                Ok(None) => self.create(self.wanted_partitions(consumer))?,
                Err(error) if refused::is_refusal(error.rdkafka_error_code()) => {
                    return Err(
                        self.refused(connection::reason(&error), "grant our user READ, WRITE and DESCRIBE on it")
                    );
                }
                Err(error) => self.log_waiting(&connection::reason(&error)),
            }
            thread::sleep(AGAIN_AFTER);
            report_errors(consumer);
        }
        Ok(())
    }

    fn refused(&self, reason: String, advice: impl Into<String>) -> KafkaError {
        KafkaError::LedgerTopic { topic: self.ledger.topic.clone(), reason, advice: advice.into() }
    }

    fn log_waiting(&self, error: &str) {
        if let Some(suppressed) = self.throttle.admit(&(), Instant::now()) {
            tracing::warn!(
                topic = self.name(),
                error,
                suppressed,
                "the ledger topic is not ready yet; the bridge waits for it"
            );
        }
    }

    /// One for each partition of the source topic that has the most. Topics that do not exist yet do not count.
    pub(super) fn wanted_partitions<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) -> i32 {
        let counts = self.settings.topics.iter().filter_map(|topic| partitions_of(consumer, topic).ok().flatten());
        counts.max().unwrap_or(1)
    }

    /// Creates the topic. `Ok` when it was created, exists, or nobody answered: the caller looks again.
    pub(super) fn create(&self, partitions: i32) -> Result<(), KafkaError> {
        let config = wanted(self.ledger.window);
        let mut topic = NewTopic::new(&self.ledger.topic, partitions, TopicReplication::Fixed(-1));
        for (name, value) in &config {
            topic = topic.set(name, value);
        }
        let result = self.ask(async |admin| {
            let results = admin.create_topics([&topic], &options()).await?;
            Ok(results.into_iter().next().and_then(Result::err).map(|(_, code)| code))
        })?;
        match result {
            Ok(None) => {
                tracing::info!(topic = self.name(), partitions, config = config::text(&config), "ledger topic created");
                Ok(())
            }
            Ok(Some(Code::TopicAlreadyExists)) => Ok(()),
            Ok(Some(code)) if refused::is_refusal(Some(code)) => {
                let command = format!(
                    "kafka-topics.sh --create --topic {} --partitions {partitions} {}",
                    self.ledger.topic,
                    config.iter().map(|(name, value)| format!("--config {name}={value}")).collect::<Vec<_>>().join(" ")
                );
                let advice = format!("grant our user CREATE on the topic, or create it ({command})");
                Err(self.refused(format!("it does not exist and cannot be created: {code}"), advice))
            }
            Ok(Some(code)) => {
                self.log_waiting(&code.to_string());
                Ok(())
            }
            Err(error) => {
                self.log_waiting(&connection::reason(&error));
                Ok(())
            }
        }
    }

    /// Adds partitions up to this number; why not, with what to do.
    pub(super) fn grow(&self, partitions: i32) -> Result<(), String> {
        let wanted = NewPartitions::new(&self.ledger.topic, usize::try_from(partitions).unwrap_or_default());
        let result = self.ask(async |admin| {
            let results = admin.create_partitions([&wanted], &options()).await?;
            Ok(results.into_iter().next().and_then(Result::err).map(|(_, code)| code))
        });
        let reason = match result {
            Ok(Ok(None)) => {
                tracing::info!(topic = self.name(), partitions, "partitions added to the ledger topic");
                return Ok(());
            }
            // Another replica was faster.
            Ok(Ok(Some(Code::InvalidPartitions))) => return Ok(()),
            Ok(Ok(Some(code))) => code.to_string(),
            Ok(Err(error)) => connection::reason(&error),
            Err(error) => error.to_string(),
        };
        Err(format!(
            "the ledger topic {topic} lacks this partition, and none can be added: {reason}: grant our user ALTER on it, or add \
             them (kafka-topics.sh --alter --topic {topic} --partitions {partitions})",
            topic = self.ledger.topic
        ))
    }

    fn check_config(&self) -> Result<(), KafkaError> {
        let specifier = ResourceSpecifier::Topic(&self.ledger.topic);
        let described = self.ask(async |admin| admin.describe_configs([&specifier], &options()).await)?;
        let resource = match described.map(|results| results.into_iter().next()) {
            Ok(Some(Ok(resource))) => resource,
            Ok(Some(Err(code))) => {
                self.config_unknown(&code.to_string());
                return Ok(());
            }
            Ok(None) => {
                self.config_unknown("no answer");
                return Ok(());
            }
            Err(error) => {
                self.config_unknown(&connection::reason(&error));
                return Ok(());
            }
        };
        let value = |name: &str| resource.get(name).and_then(|entry| entry.value.clone());
        for finding in check(value, self.ledger.window) {
            match finding {
                Finding::Refused { reason, advice } => return Err(self.refused(reason, advice)),
                Finding::Warning { reason, set } => {
                    let command = format!(
                        "kafka-configs.sh --alter --entity-type topics --entity-name {} --add-config {set}",
                        self.ledger.topic
                    );
                    tracing::warn!(topic = self.name(), reason, command, "the ledger topic may lose records too early");
                }
            }
        }
        Ok(())
    }

    fn config_unknown(&self, error: &str) {
        let advice = "grant our user DESCRIBE_CONFIGS on it; meanwhile check cleanup.policy, retention.ms and max.message.bytes by hand";
        tracing::warn!(topic = self.name(), error, advice, "the configuration of the ledger topic cannot be checked");
    }

    /// Writes one record without a key and a value, which readers skip, to find out whether our user may write.
    fn probe(&self) -> Result<(), KafkaError> {
        let config = client::probing_producer(&self.settings, PROBE_TIMEOUT);
        let context = ReportingContext(Arc::clone(&self.reporter));
        let producer: FutureProducer<ReportingContext> = FutureProducer::from_config_and_context(&config, context)
            .map_err(|error| KafkaError::Client {
                role: "ledger topic producer",
                reason: connection::reason(&error),
            })?;
        let record = FutureRecord::<(), ()>::to(&self.ledger.topic).partition(0);
        let sent = block_on(async { producer.send(record, PROBE_TIMEOUT).await });
        self.end(producer);
        match sent? {
            Ok(_) => Ok(()),
            Err((error, _)) if refused::is_refusal(error.rdkafka_error_code()) => Err(self.refused(
                format!("it cannot be written: {}", connection::reason(&error)),
                "grant our user WRITE, READ and DESCRIBE on it",
            )),
            Err((error, _)) => {
                self.log_waiting(&connection::reason(&error));
                Ok(())
            }
        }
    }

    /// One request to the cluster's controller, on a client of its own.
    fn ask<T>(
        &self,
        request: impl AsyncFnOnce(&AdminClient<ReportingContext>) -> Result<T, RdError>,
    ) -> Result<Result<T, RdError>, KafkaError> {
        let context = ReportingContext(Arc::clone(&self.reporter));
        let admin = AdminClient::from_config_and_context(&client::producer(&self.settings), context)
            .map_err(|error| KafkaError::Client { role: "ledger topic client", reason: connection::reason(&error) })?;
        let answer = block_on(request(&admin));
        self.end(admin);
        answer
    }

    fn end<T: Send + 'static>(&self, client: T) {
        let mut ending = self.ending.lock();
        ending.retain(|thread| !thread.is_finished());
        ending.extend(client::end(client));
    }
}

impl Drop for LedgerTopic {
    fn drop(&mut self) {
        for thread in self.ending.lock().drain(..) {
            // It has nothing that could panic, and no answer to give.
            drop(thread.join());
        }
    }
}

/// Serves the callbacks of a consumer that is assigned nothing: they report why no broker answers.
fn report_errors<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    // Bounded, because errors may come faster than they are served.
    for _ in 0..100 {
        if consumer.poll(Duration::ZERO).is_none() {
            return;
        }
    }
}

fn partitions_of<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str) -> KafkaResult<Option<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error() {
        None => Ok(i32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)),
        Some(
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
        ) => Ok(None),
        Some(error) => Err(RdError::MetadataFetch(error.into())),
    }
}

fn options() -> AdminOptions {
    // The mock broker of the unit tests never answers these calls.
    let timeout = if cfg!(test) { ADMIN_TIMEOUT / 10 } else { ADMIN_TIMEOUT };
    AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout))
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, KafkaError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| KafkaError::Thread { reason: error.to_string() })?;
    Ok(runtime.block_on(future))
}
