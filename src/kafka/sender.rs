//! A producer whose sends are futures, and whose thread sleeps while nothing is in flight.
//!
//! rdkafka's own `FutureProducer` polls ten times a second, and at the end of each poll it spins through what is left of a
//! millisecond: most of what an idle process would take.

use std::{
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

use super::{acknowledged::acknowledged, report::ReportingContext};

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

/// The producer and its thread.
pub(super) struct Sender {
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
    ///
    /// # Errors
    /// librdkafka's, or that no thread can be started.
    pub(super) fn start(config: &ClientConfig, reporting: ReportingContext) -> Result<Self, RdError> {
        let producer = BaseProducer::from_config_and_context(config, Context(reporting))?;
        let shared = Arc::new(Shared { producer, is_closed: AtomicBool::new(false) });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("kafka-sender".into())
            .spawn(move || worker.run())
            .map_err(|_| RdError::ClientCreation("no thread can be started: check the limits on threads".into()))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Sends a record. Resolves to its offset when a broker has acknowledged it, or to why none did.
    pub(super) fn send(&self, record: Outgoing<'_>) -> impl Future<Output = Report> + use<> {
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

    /// The error after which the client does nothing any more.
    pub(super) fn fatal_error(&self) -> Option<(Code, String)> {
        self.shared.producer.client().fatal_error()
    }
}

impl Drop for Sender {
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
