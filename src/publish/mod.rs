//! The publish client: an event into Kafka, from a process that must not be held up or broken by it.
//!
//! Owns the promise to the caller: when a call returns, the event is acknowledged by the broker, or
//! it is in the spool, or the error says that it is lost; and the call returns by its deadline. It
//! needs no async runtime, and it survives a fork: a child makes a connection of its own and leaves
//! the inherited one alone. It knows nothing of the bridge, and gives an event no new id or time.
//!
//! ```no_run
//! use std::time::Duration;
//! use workflow_bridge::{event::{self, Event}, publish::Publisher};
//!
//! fn tell(event: &Event) -> Result<(), Box<dyn std::error::Error>> {
//!     let publisher = Publisher::builder().bootstrap_servers("localhost:9092").build()?;
//!     let ack = publisher.publish(event, Duration::from_secs(5))?;
//!     println!("partition {}, offset {}", ack.partition, ack.offset);
//!     Ok(())
//! }
//! ```

mod batch;
mod builder;
mod drain;
mod engine;
mod error;
mod fork;
mod home;
mod record;
mod rescue;
pub mod spool;
mod traffic;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::ClientConfig;

use self::{
    batch::Batch,
    engine::{Engine, Failure, Ticket},
    fork::PerProcess,
    home::Home,
    spool::Spool,
};
use crate::event::Event;

pub use builder::Builder;
pub use drain::{Budget, Drained, Send, Sent, drain};
pub use error::{Ack, PublishError};
pub use record::Record;

/// What a publish may do for events that wait in the spool, once it knows that Kafka is there.
const SHARE: Budget = Budget { events: 1_000, time: Duration::from_secs(1) };
/// How soon it looks for such events again, and how soon after a drain that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// How long `enqueue` waits for room in the queue.
const HAND_OVER: Duration = Duration::from_secs(1);
/// How often a wait asks whether it shall go on.
const ASK: Duration = Duration::from_millis(100);
/// How long a close waits for librdkafka's threads, beyond its deadline.
const GRACE: Duration = Duration::from_secs(1);

/// What was heard of a record by the deadline, if anything.
type Heard = Option<Result<Ack, Failure>>;

/// Publishes events. Every method takes `&self`; threads may share one.
pub struct Publisher {
    config: ClientConfig,
    servers: Arc<str>,
    topic: Arc<str>,
    spool: Option<Spool>,
    /// The broker says what it has; with `acks=0` it says nothing.
    is_acknowledged: bool,
    home: PerProcess<Home>,
    closed: AtomicBool,
    began: Instant,
    /// When the spool is looked at next, in milliseconds since `began`.
    next_drain: AtomicU64,
}

/// Records of one call that are on their way, until [`Publisher::finish`] waits for them. Without it
/// they are published, and what fails is told to nobody.
#[must_use = "what fails is spooled by `finish`"]
pub struct Many {
    batch: Arc<Batch>,
    records: Vec<Record>,
    carrier: Option<Carrier>,
    deadline: Duration,
    until: Instant,
    is_closed: bool,
}

/// The engine that carries the records of one call. Also what nobody waits for in the end is heard.
struct Carrier(Arc<Engine>);

impl Drop for Carrier {
    fn drop(&mut self) {
        if self.0.is_ours() {
            self.0.listen();
        }
    }
}

impl Many {
    /// Whether a parent has begun to send: what a child adds goes nowhere.
    fn is_inherited(&self) -> bool {
        self.carrier.as_ref().is_some_and(|carrier| !carrier.0.is_ours())
    }
}

impl Publisher {
    /// The settings, with their defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn new(config: ClientConfig, servers: Arc<str>, topic: Arc<str>, spool: Option<Spool>) -> Self {
        Self {
            is_acknowledged: config.get("acks") != Some("0"),
            config,
            servers,
            topic,
            spool,
            home: PerProcess::new(),
            closed: AtomicBool::new(false),
            began: Instant::now(),
            next_drain: AtomicU64::new(0),
        }
    }

    /// The brokers that it was told of.
    pub fn bootstrap_servers(&self) -> &str {
        &self.servers
    }

    /// Where an event goes that names no topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Where events wait that Kafka did not take.
    pub fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// Looks for a broker, for at most so long.
    ///
    /// # Errors
    /// [`PublishError::NoBroker`] with what librdkafka complains about.
    pub fn connect(&self, within: Duration) -> Result<(), PublishError> {
        self.connect_while(within, &mut || true)
    }

    /// [`connect`](Self::connect) that asks from time to time whether it shall go on.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_while(&self, within: Duration, go_on: &mut dyn FnMut() -> bool) -> Result<(), PublishError> {
        self.open()?;
        let until = after(within);
        let none =
            |(reason, advice)| PublishError::NoBroker { servers: self.servers.to_string(), within, reason, advice };
        let engine = self.engine(until).map_err(|failure| none((failure.reason, "see the reason")))?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if engine.find_broker(left.min(ASK)) {
                return Ok(());
            }
            if left <= ASK || !go_on() {
                return Err(none(engine.silence()));
            }
        }
    }

    /// Publishes one event to the client's topic, and waits for the broker's acknowledgement. With a
    /// deadline of zero it goes straight into the spool.
    ///
    /// # Errors
    /// [`PublishError::Spooled`] when the event is safe, but not in Kafka yet;
    /// [`PublishError::TooLarge`] when no later time will change that: it is kept in the spool's quarantine;
    /// [`PublishError::Lost`] when it is in neither. It may be in Kafka all the same when an
    /// acknowledgement was lost: publishing it again is safe, because its id tells.
    pub fn publish(&self, event: &Event, deadline: Duration) -> Result<Ack, PublishError> {
        self.publish_record(Record::new(event, &self.topic, None), deadline)
    }

    /// [`publish`](Self::publish), for a record with a topic and a trace context of its own.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_record(&self, record: Record, deadline: Duration) -> Result<Ack, PublishError> {
        let mut answers = self.publish_many(vec![record], deadline);
        answers.pop().unwrap_or(Err(PublishError::Closed))
    }

    /// Publishes many events within one deadline; the answers come in the order of the records.
    pub fn publish_many(&self, records: Vec<Record>, deadline: Duration) -> Vec<Result<Ack, PublishError>> {
        let mut many = self.begin(deadline);
        self.add(&mut many, records);
        self.finish(many)
    }

    /// Begins what [`publish_many`](Self::publish_many) does at once, for whoever makes the records while
    /// the first of them are on their way.
    pub fn begin(&self, deadline: Duration) -> Many {
        let until = after(deadline);
        let (batch, is_closed) = (Arc::new(Batch::new()), self.open().is_err());
        Many { batch, records: Vec::new(), carrier: None, deadline, until, is_closed }
    }

    /// Hands more records over, and does not wait for their answers.
    pub fn add(&self, many: &mut Many, records: Vec<Record>) {
        if many.is_inherited() {
            many.records.extend(records);
            return;
        }
        for record in records {
            self.add_one(many, &record);
            many.records.push(record);
        }
        // An answer that came before the deadline has to be heard before the deadline.
        if let Some(Carrier(engine)) = &many.carrier {
            engine.listen();
        }
    }

    fn add_one(&self, many: &mut Many, record: &Record) {
        let index = many.batch.add();
        if let Err(failure) = self.hand_over(many, record, index) {
            many.batch.answer(index, Err(failure));
        }
    }

    /// Waits for the answers; they come in the order of the records.
    pub fn finish(&self, many: Many) -> Vec<Result<Ack, PublishError>> {
        self.finish_while(many, &mut || true)
    }

    /// [`finish`](Self::finish) that asks from time to time whether it shall go on: if not, the deadline
    /// has passed.
    pub fn finish_while(&self, many: Many, go_on: &mut dyn FnMut() -> bool) -> Vec<Result<Ack, PublishError>> {
        let is_inherited = many.is_inherited();
        let Many { batch, records, carrier, deadline, until, is_closed } = many;
        if is_closed || is_inherited {
            return records.iter().map(|_| Err(PublishError::Closed)).collect();
        }
        let (answers, ended) = self.answers(&batch, carrier.as_ref(), &records, until, go_on);
        let overdue = || {
            if ended < until {
                Failure::new("the call was interrupted before a broker acknowledged it")
            } else {
                self.overdue(deadline)
            }
        };
        let settle = |(index, (record, answer)): (usize, (&Record, Heard))| {
            let failure = match answer {
                Some(Ok(ack)) => return Ok(ack),
                Some(Err(failure)) => failure,
                None => {
                    let error = self.rescue(record, &overdue());
                    let (PublishError::Spooled { path, .. }, Some(spool)) = (&error, &self.spool) else {
                        return batch.lost(index).ok_or(error);
                    };
                    let Some(ack) = batch.spooled(index, path.clone(), spool) else { return Err(error) };
                    // It was acknowledged while it was being spooled.
                    spool.withdraw(path);
                    return Ok(ack);
                }
            };
            Err(self.rescue(record, &failure))
        };
        let answers: Vec<_> = records.iter().zip(answers).enumerate().map(settle).collect();
        if answers.iter().any(Result::is_ok) {
            self.drain_share(ended);
        }
        answers
    }

    /// Kafka is there: a share of the time that is left goes to events that wait in the spool.
    fn drain_share(&self, until: Instant) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let time = until.saturating_duration_since(Instant::now()).min(SHARE.time);
        let due = self.next_drain.load(Ordering::Relaxed);
        if self.spool.is_none() || !self.is_acknowledged || time.is_zero() || now < due {
            return;
        }
        let wait = |wait: Duration| now.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        // One of the threads that get here does it.
        if self.next_drain.compare_exchange(due, wait(LOOK_AGAIN), Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let error = match self.drain(Budget { time, ..SHARE }) {
            Ok(drained) => {
                if drained.published > 0 {
                    let (published, left) = (drained.published, drained.left);
                    tracing::info!(published, left, "published events from the spool");
                }
                drained.error
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = error {
            tracing::warn!(error, "the spool could not be drained; its events wait");
            self.next_drain.store(wait(TRY_AGAIN), Ordering::Relaxed);
        }
    }

    /// As [`publish_many`](Self::publish_many), but what fails is spooled by nobody: for events that
    /// are in the spool already.
    pub fn send_unspooled(&self, records: &[Record], deadline: Duration) -> Sent {
        self.send_while(records, deadline, &mut || true)
    }

    fn send_while(&self, records: &[Record], deadline: Duration, go_on: &mut dyn FnMut() -> bool) -> Sent {
        if let Err(closed) = self.open() {
            return records.iter().map(|_| Err(closed.clone())).collect::<Vec<_>>().into();
        }
        let mut many = self.begin(deadline);
        for record in records {
            self.add_one(&mut many, record);
        }
        let Many { batch, carrier, until, .. } = many;
        let (answers, _) = self.answers(&batch, carrier.as_ref(), records, until, go_on);
        let settle = |(record, answer): (&Record, Heard)| {
            answer.unwrap_or_else(|| Err(self.overdue(deadline))).map_err(|failure| unspooled(record, &failure))
        };
        Sent::new(records.iter().zip(answers).map(settle).collect(), batch)
    }

    /// Hands an event over and does not wait. What fails later goes to the spool, and is told by
    /// [`take_failures`](Self::take_failures). Until [`flush`](Self::flush) or
    /// [`close`](Self::close) returns, a crash of the process loses it.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), when it could not even be handed over.
    pub fn enqueue(&self, record: &Record) -> Result<(), PublishError> {
        self.open()?;
        let until = after(HAND_OVER);
        let sent = self.engine(until).and_then(|engine| self.send(engine, record, || Ticket::Enqueued, until));
        sent.map(drop).map_err(|failure| self.rescue(record, &failure))
    }

    /// Waits until nothing is under way that is not in the spool already; without a deadline, for as
    /// long as that takes: the delivery timeout at most, if nobody goes on publishing.
    ///
    /// # Errors
    /// [`PublishError::FlushTimedOut`]; what is under way stays under way.
    pub fn flush(&self, deadline: Option<Duration>) -> Result<(), PublishError> {
        let Some(engine) = self.home.existing().and_then(Home::engine) else { return Ok(()) };
        match engine.flush(deadline.map(after)) {
            0 => Ok(()),
            pending => {
                let (reason, advice) = engine.silence();
                let within = deadline.unwrap_or_default();
                Err(PublishError::FlushTimedOut { pending, within, reason: format!("{reason}: {advice}") })
            }
        }
    }

    /// Flushes, spools what is not acknowledged by then, however long the disk takes for it, and ends
    /// the connection: the failures of what was enqueued. A look-up of a host that hangs may hold it up for a
    /// minute; what has no outcome then is a [`PublishError::FlushTimedOut`]. In a forked child it closes the
    /// child's connection only. Closing twice is nothing.
    pub fn close(&self, deadline: Duration) -> Vec<PublishError> {
        self.closed.store(true, Ordering::SeqCst);
        let Some(home) = self.home.existing() else { return Vec::new() };
        let mut left = None;
        if let Some(engine) = home.close() {
            let began = Instant::now();
            engine.flush(Some(after(deadline)));
            let (pending, (reason, advice)) = (engine.stop(), engine.silence());
            let reason = format!("{reason}: {advice}");
            left = (pending > 0).then_some(PublishError::FlushTimedOut {
                pending,
                within: rounded(began.elapsed()),
                reason,
            });
            engine.wait_ended(GRACE);
        }
        let mut failures = home.rescues().take_failures();
        failures.extend(left);
        failures
    }

    /// What became of enqueued events that were not acknowledged, since the last call. Of those that
    /// are in the spool, the newest 10,000 at most.
    pub fn take_failures(&self) -> Vec<PublishError> {
        self.home.existing().map_or_else(Vec::new, |home| home.rescues().take_failures())
    }

    fn open(&self) -> Result<(), PublishError> {
        if self.closed.load(Ordering::SeqCst) { Err(PublishError::Closed) } else { Ok(()) }
    }

    fn engine(&self, until: Instant) -> Result<Arc<Engine>, Failure> {
        let home = self.home.get(Home::default);
        // A state that librdkafka cannot leave: a fresh client may do better.
        if let Some(dead) = home.take_if(Engine::is_dead) {
            tracing::warn!(reason = dead.silence().0, "the Kafka client has failed for good: making a new one");
            // What it owes takes its time; without a thread it is paid here.
            let retire = Arc::clone(&dead);
            if thread::Builder::new().name("wfe-end".into()).spawn(move || retire.stop()).is_err() {
                dead.stop();
            }
        }
        home.open(until, || {
            let (config, servers) = (self.config.clone(), Arc::clone(&self.servers));
            let (spool, rescues) = (self.spool.clone(), Arc::clone(home.rescues()));
            move || Engine::start(&config, &servers, spool, rescues)
        })
    }

    /// Hands a record over; to a fresh engine, if this one turns out to be dead. The engine that has it.
    fn send(
        &self,
        engine: Arc<Engine>,
        record: &Record,
        ticket: impl Fn() -> Ticket,
        until: Instant,
    ) -> Result<Arc<Engine>, Failure> {
        match engine.send(record, ticket(), until) {
            Ok(()) => Ok(engine),
            Err(_) if engine.is_dead() => {
                let fresh = self.engine(until)?;
                fresh.send(record, ticket(), until).map(|()| fresh)
            }
            Err(failure) => Err(failure),
        }
    }

    fn hand_over(&self, many: &mut Many, record: &Record, index: usize) -> Result<(), Failure> {
        if many.deadline.is_zero() {
            return Err(Failure::new("it was published with a deadline of 0, which is straight into the spool"));
        }
        if self.open().is_err() {
            return Err(Failure::new("the client was closed meanwhile: make a new one"));
        }
        let engine = match &many.carrier {
            Some(Carrier(engine)) => Arc::clone(engine),
            None => self.engine(many.until)?,
        };
        let ticket = || Ticket::Waited { batch: Arc::clone(&many.batch), index };
        let engine = self.send(engine, record, ticket, many.until)?;
        if !many.carrier.as_ref().is_some_and(|carrier| Arc::ptr_eq(&carrier.0, &engine)) {
            many.carrier = Some(Carrier(engine));
        }
        Ok(())
    }

    /// Waits for answers: `None` where nothing was heard by then; and when that was.
    fn answers(
        &self,
        batch: &Arc<Batch>,
        carrier: Option<&Carrier>,
        records: &[Record],
        mut until: Instant,
        go_on: &mut dyn FnMut() -> bool,
    ) -> (Vec<Heard>, Instant) {
        while let Some(Carrier(engine)) = carrier {
            engine.hear(batch, until.min(after(ASK)));
            let now = Instant::now();
            if !batch.is_waiting() || now >= until {
                break;
            }
            if !go_on() {
                until = now;
            }
        }
        let answers = batch.wait(until);
        let is_too_large = |answer: &Heard| matches!(answer, Some(Err(failure)) if failure.too_large);
        if !answers.iter().any(is_too_large) {
            return (answers, until);
        }
        let refused = answers.iter().enumerate().filter(|(_, answer)| is_too_large(answer));
        refused.for_each(|(index, _)| self.send_alone(&records[index], batch, index, until));
        (batch.wait(until), until)
    }

    /// The broker's verdict is on all records of a topic that it was sent at once, those of other threads
    /// counted in: this one gets its own.
    fn send_alone(&self, record: &Record, batch: &Arc<Batch>, index: usize, until: Instant) {
        batch.again(index);
        if Instant::now() >= until {
            let reason = "it was refused as too large together with others, and there was no time to try it alone";
            batch.answer(index, Err(Failure::new(reason)));
            return;
        }
        let ticket = || Ticket::Waited { batch: Arc::clone(batch), index };
        match self.engine(until).and_then(|engine| self.send(engine, record, ticket, until)) {
            Ok(engine) => engine.hear(batch, until),
            Err(failure) => batch.answer(index, Err(failure)),
        }
    }

    fn overdue(&self, deadline: Duration) -> Failure {
        let silence = self.home.existing().and_then(Home::engine).map(|engine| engine.silence());
        let (reason, advice) = silence.unwrap_or_else(|| ("the client is closed".into(), "make a new one"));
        Failure::new(format!("no acknowledgement within {:?}: {reason}: {advice}", rounded(deadline)))
    }

    fn rescue(&self, record: &Record, failure: &Failure) -> PublishError {
        rescue(record, failure, self.spool.as_ref(), &self.servers)
    }
}

/// To milliseconds, for people.
fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// So long from now. What no clock can express is a year, which outlasts every delivery timeout.
fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 60 * 60))
}

/// Into the spool with it, if there is one.
fn rescue(record: &Record, failure: &Failure, spool: Option<&Spool>, servers: &str) -> PublishError {
    let Some(spool) = spool else { return unspooled(record, failure) };
    let (event_id, topic) = (record.event_id.to_string(), record.topic.to_string());
    let kept = if failure.too_large {
        spool.keep_refused(record, servers, &failure.reason)
    } else {
        spool.put(record, servers, &failure.reason)
    };
    match kept {
        Ok(path) if failure.too_large => too_large(record, Some(path)),
        Ok(path) => PublishError::Spooled { event_id, topic, path, reason: failure.reason.clone() },
        Err(error) => PublishError::Lost {
            event_id,
            topic,
            reason: failure.reason.clone(),
            spool: error.to_string(),
            event: String::from_utf8_lossy(&record.value).into_owned(),
        },
    }
}

fn unspooled(record: &Record, failure: &Failure) -> PublishError {
    if failure.too_large {
        return too_large(record, None);
    }
    let (event_id, topic) = (record.event_id.to_string(), record.topic.to_string());
    let event = String::from_utf8_lossy(&record.value).into_owned();
    let (reason, of_topic) = (failure.reason.clone(), failure.of_topic);
    PublishError::NotAcknowledged { event_id, topic, reason, of_topic, event }
}

fn too_large(record: &Record, kept: Option<PathBuf>) -> PublishError {
    PublishError::TooLarge {
        event_id: record.event_id.to_string(),
        topic: record.topic.to_string(),
        bytes: record.value.len(),
        kept,
        event: String::from_utf8_lossy(&record.value).into_owned(),
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("bootstrap_servers", &self.servers)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Drop for Publisher {
    /// Without a close: what is under way goes to the spool.
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}
