//! One process's producer: librdkafka's handle, and the thread that hears its reports.
//!
//! Owns everything that must not outlive a fork. Its invariants: the thread listens from the time at which
//! records are handed over until none is under way, so that an idle client costs nothing and closes at
//! once; after a stop it takes no record. No caller ever waits for librdkafka's own threads without a
//! bound, because they may never answer: a child that was forked while its parent looked up a host has
//! a C library that looks up none.

use std::{
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::{DeliveryResult, Headers as _},
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig},
};

use super::{
    Ack, Record,
    batch::Batch,
    rescue::{Rescue, Rescues},
    spool::Spool,
    traffic::Traffic,
};
use crate::connection::{advice, reason, speaks_another_protocol};

/// How long the thread listens before it looks whether anybody still waits.
const LISTEN: Duration = Duration::from_millis(20);
/// How long a full queue is left alone before it is tried again.
const ROOM: Duration = Duration::from_millis(1);
/// How long an end waits for the reports on what is settled already.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits for those on what is not: a look-up of a host holds them up until it has failed.
const LOOK_UP: Duration = Duration::from_secs(60);

/// Why the broker does not have a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What librdkafka says, and what to do.
    pub(super) reason: String,
    /// The topic does not take a record of this size.
    pub(super) too_large: bool,
    /// The topic alone is at fault: others may take records.
    pub(super) of_topic: bool,
    /// librdkafka makes no client of these settings.
    pub(super) of_settings: bool,
}

impl Failure {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), too_large: false, of_topic: false, of_settings: false }
    }
}

/// Who is told what became of a record.
pub(super) enum Ticket {
    /// A caller, who waits.
    Waited { batch: Arc<Batch>, index: usize },
    /// Nobody: what fails is spooled at once.
    Enqueued,
}

/// The producer of one process.
pub(super) struct Engine {
    producer: Arc<BaseProducer<Ears>>,
    shared: Arc<Shared>,
    process: u32,
    ended: Mutex<Option<mpsc::Receiver<()>>>,
    /// The last of the fields to be dropped: see the thread.
    _alive: mpsc::Sender<()>,
}

/// What the thread, the callbacks and the callers share.
struct Shared {
    traffic: Arc<Traffic>,
    complaint: Mutex<Option<(Code, String)>>,
    troubled: AtomicBool,
    dead: AtomicBool,
    /// A broker has acknowledged what nobody waits for since somebody asked.
    acknowledged: AtomicBool,
    rescues: Arc<Rescues>,
    spool: Option<Spool>,
    servers: Arc<str>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Makes the handle and starts the thread; connects in the background.
    pub(super) fn start(
        config: &ClientConfig,
        servers: &Arc<str>,
        spool: Option<Spool>,
        rescues: Arc<Rescues>,
    ) -> Result<Self, Failure> {
        let shared = Arc::new(Shared {
            traffic: Arc::default(),
            complaint: Mutex::default(),
            troubled: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            acknowledged: AtomicBool::new(false),
            rescues,
            spool,
            servers: Arc::clone(servers),
        });
        let producer = BaseProducer::from_config_and_context(config, Ears(Arc::clone(&shared))).map(Arc::new).map_err(
            |error| Failure {
                of_settings: true,
                ..Failure::new(format!("librdkafka makes no client of these settings: {}", reason(&error)))
            },
        )?;
        let (end, ended) = mpsc::channel();
        let (alive, gone) = mpsc::channel::<()>();
        let (ears, traffic) = (Arc::clone(&producer), Arc::clone(&shared.traffic));
        thread::Builder::new()
            .name("wfe-listen".into())
            .spawn(move || {
                while traffic.wait() {
                    ears.poll(LISTEN);
                }
                // Dropping the handle waits for librdkafka's threads: no caller does that, so this thread is the
                // last to hold it. Whoever closes may wait for the thread.
                let _ = gone.recv();
                drop(ears);
                // Nobody waits for it any more: then nobody has to be told.
                let _ = end.send(());
            })
            .map_err(|error| {
                Failure::new(format!("no thread can be started ({error}): check the limits on threads"))
            })?;
        Ok(Self { producer, shared, process: process::id(), ended: Mutex::new(Some(ended)), _alive: alive })
    }

    /// Whether this process has made it: another one must not touch it.
    pub(super) fn is_ours(&self) -> bool {
        self.process == process::id()
    }

    /// Hands a record to librdkafka, and waits for room in its queue, at most until then. Nobody
    /// hears of one that is waited for until somebody [`hear`](Self::hear)s or [`listen`](Self::listen)s.
    pub(super) fn send(&self, record: &Record, ticket: Ticket, until: Instant) -> Result<(), Failure> {
        if !self.shared.traffic.begin() {
            return Err(Failure::new("the client was closed meanwhile: make a new one"));
        }
        let is_enqueued = matches!(ticket, Ticket::Enqueued);
        if let Ticket::Waited { batch, index } = &ticket {
            batch.carried_by(*index, &self.shared.traffic);
        }
        let mut message = BaseRecord::with_opaque_to(&record.topic, Box::new(ticket))
            .key(&*record.key)
            .payload(&record.value)
            .headers(record.headers());
        loop {
            match self.producer.send(message) {
                Ok(()) => {
                    if is_enqueued {
                        self.shared.traffic.call_up();
                    }
                    // The purge of the one that closes may have come before this record.
                    if self.shared.traffic.is_closing() {
                        self.purge();
                    }
                    return Ok(());
                }
                Err((RdError::MessageProduction(Code::QueueFull), back)) if Instant::now() < until => {
                    message = back;
                    // Reports that are not heard take up room as well.
                    self.shared.traffic.call_up();
                    thread::park_timeout(ROOM);
                }
                Err((error, _)) => {
                    self.shared.traffic.end();
                    if let Some((code, text)) = self.producer.client().fatal_error() {
                        self.shared.complain(code, &text);
                        self.shared.dead.store(true, Ordering::Relaxed);
                    }
                    return Err(self.shared.failure(&error, record.value.len()));
                }
            }
        }
    }

    /// Waits until all of a batch are answered, at most until then.
    pub(super) fn hear(&self, batch: &Batch, until: Instant) {
        self.listen();
        self.shared.traffic.look(until, || !batch.is_waiting(), || batch.settle(until));
    }

    /// From now on the thread listens, until nothing is under way.
    pub(super) fn listen(&self) {
        self.shared.traffic.call_up();
    }

    /// Waits until nothing is under way that is not settled, at most until then: how much still is.
    pub(super) fn flush(&self, until: Option<Instant>) -> usize {
        self.shared.traffic.flush(until)
    }

    /// Whether a broker is there, asked for at most so long.
    pub(super) fn find_broker(&self, within: Duration) -> bool {
        let _listening = self.shared.traffic.listen();
        self.producer.client().fetch_cluster_id(within).is_some()
    }

    /// Ends the thread and the handle. What is still under way fails first, and what nobody waits for is
    /// rescued, however long the disk takes: how much has no outcome after all, because librdkafka's own
    /// threads are held up by a look-up of a host.
    pub(super) fn stop(&self) -> usize {
        self.shared.traffic.close();
        self.purge();
        self.shared.traffic.wind_up(PATIENCE, LOOK_UP)
    }

    /// Fails what is under way. A purge that blocks would wait for librdkafka's threads.
    fn purge(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }

    /// Waits until the thread has ended, at most so long. One that takes longer ends by itself.
    pub(super) fn wait_ended(self: Arc<Self>, within: Duration) {
        let ended = lock(&self.ended).take();
        // Ours goes first, so that the thread's hold on the handle is the last.
        drop(self);
        if let Some(ended) = ended {
            let _ = ended.recv_timeout(within);
        }
    }

    /// Whether librdkafka has reached a state that it cannot leave.
    pub(super) fn is_dead(&self) -> bool {
        self.shared.dead.load(Ordering::Relaxed)
    }

    /// Whether a broker has acknowledged what nobody waits for since this was last asked.
    pub(super) fn take_acknowledged(&self) -> bool {
        self.shared.acknowledged.swap(false, Ordering::Relaxed)
    }

    /// Why nothing was heard: what librdkafka complained about last, and what to do.
    pub(super) fn silence(&self) -> (String, &'static str) {
        self.shared.silence()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.traffic.stop();
    }
}

impl Shared {
    fn complain(&self, code: Code, text: &str) {
        let mut complaint = lock(&self.complaint);
        // That all brokers are down, or that this is fatal, follows from something else, which is worth more.
        if complaint.is_none() || !matches!(code, Code::AllBrokersDown | Code::Fatal) {
            *complaint = Some((code, text.to_owned()));
            self.troubled.store(true, Ordering::Relaxed);
        }
    }

    fn content(&self) {
        if self.troubled.swap(false, Ordering::Relaxed) {
            *lock(&self.complaint) = None;
        }
    }

    fn silence(&self) -> (String, &'static str) {
        match &*lock(&self.complaint) {
            Some((code, text)) => (text.clone(), advice(*code, text).1),
            None => (
                "nothing was heard, and no error either".into(),
                "check that the topic exists, that bootstrap_servers names a Kafka listener, and that the broker is not overloaded",
            ),
        }
    }

    fn failure(&self, error: &RdError, bytes: usize) -> Failure {
        let code = error.rdkafka_error_code();
        match code {
            Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => Failure {
                reason: format!(
                    "it is too large for the topic ({bytes} bytes): raise the topic's max.message.bytes, or put a \
                     reference into the payload"
                ),
                too_large: true,
                of_topic: true,
                of_settings: false,
            },
            Some(Code::MessageTimedOut | Code::RequestTimedOut) => {
                let (complaint, advice) = self.silence();
                Failure::new(format!("no broker took it in time: {complaint}: {advice}"))
            }
            Some(Code::PurgeQueue | Code::PurgeInflight | Code::Fatal) => {
                let (complaint, advice) = self.silence();
                Failure::new(if self.dead.load(Ordering::Relaxed) {
                    format!("the client has failed for good: {complaint}: {advice}")
                } else if lock(&self.complaint).is_none() {
                    "the client was closed before the broker acknowledged it: flush first, or give the close more time"
                        .into()
                } else {
                    format!("the client was closed before the broker acknowledged it: {complaint}: {advice}")
                })
            }
            Some(Code::QueueFull) => {
                Failure::new("the client's queue is full: publish less at once, or wait for flush")
            }
            Some(code) => {
                let reason = reason(error);
                Failure {
                    of_topic: is_of_topic(code),
                    ..Failure::new(format!("{reason}: {}", advice(code, &reason).1))
                }
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

/// librdkafka's callbacks.
struct Ears(Arc<Shared>);

impl ClientContext for Ears {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        // The one failure that no error tells: TLS or SASL on one side only.
        if facility == "FAIL" && speaks_another_protocol(text) {
            self.0.complain(Code::BrokerTransportFailure, text);
        }
    }

    fn error(&self, error: RdError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        if code == Code::Fatal {
            self.0.dead.store(true, Ordering::Relaxed);
        }
        self.0.complain(code, reason);
    }
}

impl ProducerContext for Ears {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let answer = match result {
            Ok(message) => {
                self.0.content();
                // Without acknowledgements librdkafka has a number of its own for what it does not know.
                Ok(Ack { partition: message.partition(), offset: message.offset().max(-1) })
            }
            Err((error, message)) => Err(self.0.failure(error, message.payload_len())),
        };
        match *ticket {
            Ticket::Waited { batch, index } => batch.answer(index, answer),
            Ticket::Enqueued => match (answer, result) {
                (Err(failure), Err((_, message))) => {
                    let Shared { spool, servers, traffic, rescues, .. } = &*self.0;
                    rescues.add(Rescue {
                        record: read_back(message),
                        failure,
                        spool: spool.clone(),
                        servers: Arc::clone(servers),
                        traffic: Arc::clone(traffic),
                    });
                    // It is under way until it is rescued.
                    return;
                }
                _ => self.0.acknowledged.store(true, Ordering::Relaxed),
            },
        }
        self.0.traffic.end();
    }
}

/// The record that was handed to librdkafka.
fn read_back(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    let header = |name: &str| -> Option<Box<str>> {
        let headers = message.headers()?;
        let value = headers.iter().find(|header| header.key == name)?.value?;
        Some(String::from_utf8_lossy(value).into())
    };
    Record {
        topic: message.topic().into(),
        event_id: header("event_id").unwrap_or_default(),
        event_type: header("event_type").unwrap_or_default(),
        key: String::from_utf8_lossy(message.key().unwrap_or_default()).into(),
        value: message.payload().unwrap_or_default().to_vec(),
        traceparent: header("traceparent"),
    }
}
