//! A producer whose sends are futures, and whose thread sleeps while nothing is in flight.
//!
//! rdkafka's own `FutureProducer` polls ten times a second, and at the end of each poll it spins through what is left of a
//! millisecond: most of what an idle process would take.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::{Message as _, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use tokio::sync::oneshot;

use super::{
    acknowledged::acknowledged,
    client,
    error::KafkaError,
    report::{Reporter, ReportingContext},
    settings::KafkaSettings,
};
use crate::{connection, sync::Mutex};

/// How long one poll lasts while something is in flight.
const POLL: Duration = Duration::from_millis(100);
/// How often an idle client is asked for what it has to report.
const IDLE: Duration = Duration::from_secs(1);
/// How many reports are taken each time.
const IDLE_EVENTS: usize = 16;

/// A record to send.
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    /// By the key if there is none.
    pub(super) partition: Option<i32>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: OwnedHeaders,
}

/// A producer that is replaced when it can do no more: when it failed for good, as an idempotent one can, and when a record got
/// no answer in time (`ledger_topic::appender` says why a new one may get it).
pub(super) struct Sender {
    /// Its name in messages.
    role: &'static str,
    config: ClientConfig,
    reporter: Arc<Reporter>,
    /// How long a record may have no answer.
    patience: Duration,
    running: Mutex<Arc<Running>>,
}

/// A producer and its thread.
struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    producer: BaseProducer<Context>,
    is_closed: AtomicBool,
}

struct Context(ReportingContext);

type Report = Result<i64, RdError>;

impl Sender {
    /// Makes the producer; it connects when the first record is sent.
    pub(super) fn start(
        role: &'static str,
        settings: &KafkaSettings,
        reporter: &Arc<Reporter>,
        patience: Duration,
    ) -> Result<Self, KafkaError> {
        let mut config = client::producer(settings);
        // A topic limits batches: records that fit alone must not be refused together.
        config.set("batch.num.messages", "1");
        let running = Running::start(&config, reporter)
            .map_err(|error| KafkaError::Client { role, reason: connection::reason(&error) })?;
        Ok(Self { role, config, reporter: Arc::clone(reporter), patience, running: Mutex::new(Arc::new(running)) })
    }

    /// Sends a record. Its offset when a broker has acknowledged it, or why none did; then it may still come to be there.
    pub(super) async fn send(&self, record: Outgoing<'_>) -> Result<i64, RdError> {
        let running = Arc::clone(&self.running.lock());
        let sent = running.send(record);
        let timed_out = Err(RdError::MessageProduction(Code::MessageTimedOut));
        let report = tokio::time::timeout(self.patience, sent).await.unwrap_or(timed_out);
        if let Err(error) = &report {
            let failed = running.shared.producer.client().fatal_error();
            if let Some((code, reason)) = failed {
                self.replace(&running, &format_args!("it failed for good, {code:?}: {reason}"));
            } else if error.rdkafka_error_code() == Some(Code::MessageTimedOut) {
                self.replace(&running, &"a record got no answer in time");
            }
        }
        report
    }

    /// Takes a new producer in place of this one, unless somebody has. What others sent with it has its answer from it.
    fn replace(&self, old: &Arc<Running>, reason: &dyn Display) {
        let mut running = self.running.lock();
        if !Arc::ptr_eq(&running, old) {
            return;
        }
        match Running::start(&self.config, &self.reporter) {
            Ok(fresh) => {
                tracing::warn!(role = self.role, %reason, "Kafka producer replaced: what it could not send is sent again");
                *running = Arc::new(fresh);
            }
            Err(error) => tracing::error!(role = self.role, %error, "Kafka producer cannot be replaced"),
        }
    }
}

impl Running {
    fn start(config: &ClientConfig, reporter: &Arc<Reporter>) -> Result<Self, RdError> {
        let context = Context(ReportingContext(Arc::clone(reporter)));
        let producer = BaseProducer::from_config_and_context(config, context)?;
        let shared = Arc::new(Shared { producer, is_closed: AtomicBool::new(false) });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("kafka-sender".into())
            .spawn(move || worker.run())
            .map_err(|_| RdError::ClientCreation("no thread can be started: check the limits on threads".into()))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    fn send(&self, record: Outgoing<'_>) -> impl Future<Output = Report> + use<> {
        let (reported, report) = oneshot::channel();
        let record = BaseRecord {
            topic: record.topic,
            partition: record.partition,
            payload: record.value,
            key: record.key,
            timestamp: None,
            headers: Some(record.headers),
            delivery_opaque: Box::new(reported),
        };
        let sent = self.shared.producer.send(record).map_err(|(error, _)| error);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        async move {
            sent?;
            report.await.unwrap_or(Err(RdError::Canceled))
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It panics nowhere.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        while !self.is_closed.load(Ordering::Acquire) {
            if self.producer.in_flight_count() > 0 {
                self.producer.poll(POLL);
                continue;
            }
            // Of these polls each takes one event and waits for none.
            (0..IDLE_EVENTS).for_each(|_| self.producer.poll(Duration::ZERO));
            thread::park_timeout(IDLE);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.log(level, facility, text);
    }

    fn error(&self, error: RdError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<oneshot::Sender<Report>>;

    fn delivery(&self, result: &DeliveryResult<'_>, reported: Self::DeliveryOpaque) {
        let report = match result {
            Ok(record) => acknowledged(record.offset()).map(|()| record.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        // Whoever waited may have gone.
        let _ = reported.send(report);
    }
}
