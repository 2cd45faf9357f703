//! The writing end of the ledger topic.
//!
//! Owns each record until the broker has acknowledged it. Its invariant: a record that was accepted is sent until it is
//! acknowledged or the appender closes; only the first ends well for the tickets that wait. librdkafka repeats what may
//! succeed by itself; what it gives up is sent again after a wait, and when its producer has failed for good or gets no
//! answer, by a new one. A repeated or reordered record is harmless, because readers merge.

mod again;
mod pending;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig},
};

use super::{
    super::{
        acknowledged::acknowledged,
        client,
        error::KafkaError,
        renewal::Renewal,
        report::{Reporter, ReportingContext},
        serve::{serve, serve_ready},
        settings::KafkaSettings,
        validate::validated,
    },
    acks::Acks,
    settings::LedgerTopicSettings,
};
use crate::{connection, sync::Mutex, telemetry, throttle::Throttle};
use again::Again;
pub(crate) use pending::AppenderStatus;
use pending::{Pending, Refused, Sent};

const LOG_EVERY: Duration = Duration::from_secs(5);
/// How long the records of a producer may take to come back when the appender closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Appends records to the ledger topic. Clones are the same appender; when the last one is dropped, it closes.
#[derive(Clone)]
pub(crate) struct LedgerAppender(Arc<Handle>);

struct Handle(Arc<Shared>);

/// The producers that came before; the thread alone has them.
#[derive(Default)]
struct Former {
    renewal: Renewal,
    /// Those that have not given back all their records. If one were dropped before, these would be lost and counted for ever.
    leaving: Vec<Arc<BaseProducer<Context>>>,
}

/// What the callers and the thread share.
struct Shared {
    settings: KafkaSettings,
    topic: String,
    /// Replaced when it fails for good, and when it gets no answer.
    producer: Mutex<Arc<BaseProducer<Context>>>,
    pending: Arc<Pending>,
    reporter: Arc<Reporter>,
    throttle: Throttle<()>,
    closed: AtomicBool,
    /// The thread, once it runs.
    thread: OnceLock<Thread>,
}

struct Context {
    reporting: ReportingContext,
    pending: Arc<Pending>,
    appends: metrics::Counter,
}

impl LedgerAppender {
    /// Makes the producer and its thread; it connects by itself, and waits for a broker that is away.
    pub(crate) fn connect(settings: &KafkaSettings, ledger: &LedgerTopicSettings) -> Result<Self, KafkaError> {
        validated(settings)?;
        let reporter = Arc::new(Reporter::new("ledger topic writer"));
        let pending = Arc::new(Pending::default());
        let shared = Arc::new(Shared {
            producer: Mutex::new(Arc::new(producer(settings, &reporter, &pending)?)),
            settings: settings.clone(),
            topic: ledger.topic.clone(),
            pending,
            reporter,
            throttle: Throttle::every(LOG_EVERY),
            closed: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let worker = Arc::clone(&shared);
        thread::Builder::new()
            .name("kafka-ledger-appender".into())
            .spawn(move || worker.run())
            .map_err(|error| KafkaError::Thread { reason: error.to_string() })?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Appends one record. Returns at once; tickets that are given to `acks` from here on wait for the acknowledgement.
    pub(crate) fn append(&self, partition: i32, key: &str, value: &[u8], acks: &Acks) {
        let shared = &*self.0.0;
        let bytes = key.len() as u64 + value.len() as u64;
        let sent = Sent { append: acks.register(), partition, bytes };
        shared.pending.open(partition, bytes);
        shared.send(key.as_bytes(), value, sent);
    }

    /// Resolves when there is room for more records: at once, unless the broker has not acknowledged many of them. Wait for
    /// it before an attempt whose outcome is to be appended, so that a broker that is away does not fill the memory.
    pub(crate) async fn room(&self) {
        self.0.0.pending.room().await;
    }

    /// Whether [`room`](Self::room) resolves at once.
    pub(crate) fn has_room(&self) -> bool {
        self.0.0.pending.has_room()
    }

    /// How many records of a partition are not acknowledged yet.
    pub(crate) fn unacknowledged(&self, partition: i32) -> u64 {
        self.0.0.pending.of(partition)
    }

    /// Waits until every record of these partitions (of all, for `None`) is acknowledged; how many are not at the deadline.
    /// Blocks.
    pub(crate) fn flush(&self, partitions: Option<&[i32]>, deadline: Instant) -> Result<(), u64> {
        self.0.0.pending.wait(partitions, deadline)
    }

    /// What waits, since when, and why.
    pub(crate) fn status(&self) -> AppenderStatus {
        self.0.0.pending.status()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.wake();
    }
}

impl Shared {
    /// Hands a record to librdkafka, or keeps it to be sent again.
    fn send(&self, key: &[u8], value: &[u8], sent: Sent) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let partition = sent.partition;
        let record = BaseRecord {
            topic: &self.topic,
            partition: Some(partition),
            payload: Some(value),
            key: Some(key),
            timestamp: None,
            headers: None,
            delivery_opaque: Box::new(sent),
        };
        // Under the lock: what a producer gets after it was purged would never come back.
        let handed_over = self.producer.lock().send(record);
        if let Err((error, record)) = handed_over {
            let full = error.rdkafka_error_code() == Some(Code::QueueFull);
            self.pending.refused(
                Refused { key: key.into(), value: value.into(), sent: record.delivery_opaque },
                if full { None } else { Some(&error) },
            );
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// The thread: serves the answers, and sends again what was refused.
    fn run(&self) {
        let _ = self.thread.set(thread::current());
        let (mut again, mut former) = (Again::default(), Former::default());
        while !self.closed.load(Ordering::Acquire) {
            let producer = Arc::clone(&self.producer.lock());
            serve(&producer, self.pending.status().unacknowledged > 0);
            former.serve();
            self.replace_if_useless(&producer, &mut former);
            metrics::gauge!(telemetry::LEDGER_UNACKNOWLEDGED).set(self.pending.status().unacknowledged as f64);
            let now = Instant::now();
            match self.pending.take_failure() {
                Some(failure) => {
                    metrics::counter!(telemetry::LEDGER_APPEND_FAILURES).increment(failure.count);
                    again.refused(now);
                    self.report(&failure, again.left(now), now);
                }
                None if self.pending.works() => again.works(),
                None => {}
            }
            if again.take_due(now) {
                self.send_again();
            }
        }
        // The records that are left are abandoned, and with them their tickets.
        let last = Arc::clone(&self.producer.lock());
        former.take(last);
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while !former.leaving.is_empty() && Instant::now() < deadline {
            former.serve();
            thread::park_timeout(Duration::from_millis(10));
        }
        drop(self.pending.take_refused(usize::MAX));
    }

    fn send_again(&self) {
        // What does not fit comes back and is sent when the answers have made room.
        for Refused { key, value, sent } in self.pending.take_refused(1_000) {
            self.send(&key, &value, *sent);
        }
    }

    fn report(&self, failure: &pending::Failure, wait: Duration, now: Instant) {
        if let Some(suppressed) = self.throttle.admit(&(), now) {
            let waiting = self.pending.status().unacknowledged;
            tracing::warn!(
                topic = self.topic,
                partition = failure.partition,
                error = failure.error,
                advice = failure.advice,
                waiting,
                wait_ms = wait.as_millis(),
                suppressed,
                "record not written to the ledger topic yet (logged at most every 5 s, for one of those that wait)"
            );
        }
    }

    /// An idempotent producer can fail for good, and `renewal` says how one gets no answer. Then a new one takes its place and
    /// sends what the old one gives back.
    fn replace_if_useless(&self, producer: &Arc<BaseProducer<Context>>, former: &mut Former) {
        let now = Instant::now();
        let failed = producer.client().fatal_error();
        let silent = self.pending.longest_wait(now).filter(|(_, waited)| *waited >= client::PATIENCE);
        if failed.is_none() && silent.is_none() {
            former.renewal.answered();
            return;
        }
        if !former.renewal.take_due(now) {
            return;
        }
        if let Some((code, reason)) = failed {
            tracing::warn!(?code, reason, "producer of the ledger topic failed for good: it is replaced");
        } else if let Some((partition, waited)) = silent {
            tracing::warn!(
                topic = self.topic,
                partition,
                waited_ms = waited.as_millis(),
                waiting = self.pending.status().unacknowledged,
                "no broker answers for records to the ledger topic: its producer is replaced and sends them again. No offset \
                 behind them is committed until then: check that the leader of the partition can be reached, and that as many \
                 of its replicas are in sync as min.insync.replicas of the topic asks for"
            );
        }
        match self::producer(&self.settings, &self.reporter, &self.pending) {
            Ok(fresh) => {
                *self.producer.lock() = Arc::new(fresh);
                former.take(Arc::clone(producer));
            }
            Err(error) => tracing::error!(%error, "producer of the ledger topic cannot be replaced"),
        }
    }
}

impl Former {
    /// Gets back what a producer holds. Nobody sends with it any more.
    fn take(&mut self, producer: Arc<BaseProducer<Context>>) {
        producer.purge(PurgeConfig::default().queue().inflight());
        self.leaving.push(producer);
    }

    fn serve(&mut self) {
        self.leaving.iter().for_each(|producer| serve_ready(producer));
        self.leaving.retain(|producer| producer.in_flight_count() > 0);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.reporting.log(level, facility, text);
    }

    fn error(&self, error: RdError, reason: &str) {
        self.reporting.error(error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let (record, result) = match result {
            Ok(record) => (record, acknowledged(record.offset())),
            Err((error, record)) => (record, Err(error.clone())),
        };
        if let Err(error) = result {
            let is_purged = matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight));
            if !is_purged {
                self.pending.answered(sent.partition);
            }
            let refused = Refused {
                key: record.key().unwrap_or_default().into(),
                value: record.payload().unwrap_or_default().into(),
                sent,
            };
            self.pending.refused(refused, Some(&error).filter(|_| !is_purged));
            return;
        }
        self.appends.increment(1);
        self.pending.acknowledged(sent.partition, sent.bytes);
        sent.append.acknowledge();
    }
}

impl std::fmt::Debug for LedgerAppender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerAppender").field("topic", &self.0.0.topic).finish_non_exhaustive()
    }
}

fn producer(
    settings: &KafkaSettings,
    reporter: &Arc<Reporter>,
    pending: &Arc<Pending>,
) -> Result<BaseProducer<Context>, KafkaError> {
    let context = Context {
        reporting: ReportingContext(Arc::clone(reporter)),
        pending: Arc::clone(pending),
        appends: metrics::counter!(telemetry::LEDGER_APPENDS),
    };
    BaseProducer::from_config_and_context(&client::ledger_producer(settings), context)
        .map_err(|error| KafkaError::Client { role: "ledger topic producer", reason: connection::reason(&error) })
}
