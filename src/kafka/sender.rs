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
    time::{Duration, Instant},
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
    renewal::Renewal,
    report::{Reporter, ReportingContext},
    serve::serve,
    settings::KafkaSettings,
};
use crate::{connection, sync::Mutex};

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
/// no answer in time (`renewal` says why a new one may get it).
pub(super) struct Sender {
    /// Its name in messages.
    role: &'static str,
    config: ClientConfig,
    reporter: Arc<Reporter>,
    /// How long a record may have no answer.
    patience: Duration,
    current: Mutex<Current>,
}

struct Current {
    running: Arc<Running>,
    renewal: Renewal,
}

/// A producer and its thread. The thread is joined at the end of the process, when librdkafka must not be at work any more.
struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    producer: BaseProducer<Context>,
    is_closed: AtomicBool,
    is_replaced: AtomicBool,
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
        let current = Current { running: Arc::new(running), renewal: Renewal::default() };
        Ok(Self { role, config, reporter: Arc::clone(reporter), patience, current: Mutex::new(current) })
    }

    /// Sends a record. Its offset when a broker has acknowledged it, or why none did; then it may still come to be there.
    pub(super) async fn send(&self, record: Outgoing<'_>) -> Result<i64, RdError> {
        let running = Arc::clone(&self.current.lock().running);
        let sent = running.send(record);
        let timed_out = Err(RdError::MessageProduction(Code::MessageTimedOut));
        let report = tokio::time::timeout(self.patience, sent).await.unwrap_or(timed_out);
        let failed = running.shared.producer.client().fatal_error();
        if let Some((code, reason)) = failed {
            self.replace(&running, &format_args!("it failed for good, {code:?}: {reason}"));
        } else if report.as_ref().is_err_and(|error| error.rdkafka_error_code() == Some(Code::MessageTimedOut)) {
            self.replace(&running, &"a record got no answer in time");
        } else if report.is_ok() {
            self.current.lock().renewal.answered();
        }
        report
    }

    /// Takes a new producer in place of this one, unless somebody has. What others sent with it has its answer from it.
    fn replace(&self, old: &Arc<Running>, reason: &dyn Display) {
        let mut current = self.current.lock();
        if !Arc::ptr_eq(&current.running, old) || !current.renewal.take_due(Instant::now()) {
            return;
        }
        match Running::start(&self.config, &self.reporter) {
            Ok(fresh) => {
                tracing::warn!(role = self.role, %reason, "Kafka producer replaced: what it could not send is sent again");
                old.shared.is_replaced.store(true, Ordering::Release);
                current.running = Arc::new(fresh);
            }
            Err(error) => tracing::error!(role = self.role, %error, "Kafka producer cannot be replaced"),
        }
    }
}

impl Running {
    fn start(config: &ClientConfig, reporter: &Arc<Reporter>) -> Result<Self, RdError> {
        let context = Context(ReportingContext(Arc::clone(reporter)));
        let producer = BaseProducer::from_config_and_context(config, context)?;
        let shared =
            Arc::new(Shared { producer, is_closed: AtomicBool::new(false), is_replaced: AtomicBool::new(false) });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("kafka-sender".into())
            .spawn(move || {
                worker.run();
                // The last owner takes the producer apart, which may take seconds: that must be no thread of the runtime.
                while worker.is_replaced.load(Ordering::Acquire) && Arc::strong_count(&worker) > 1 {
                    thread::park_timeout(Duration::from_millis(1));
                }
            })
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
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        if !self.shared.is_replaced.load(Ordering::Acquire) {
            // It panics nowhere.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        while !self.is_closed.load(Ordering::Acquire) {
            serve(&self.producer, self.producer.in_flight_count() > 0);
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

#[cfg(test)]
mod tests;
