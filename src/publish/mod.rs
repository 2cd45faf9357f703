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
mod many;
mod record;
mod rescue;
mod share;
pub mod spool;
mod traffic;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::ClientConfig;

use self::{
    engine::{Engine, Failure, Ticket},
    fork::PerProcess,
    home::Home,
    share::Turn,
    spool::Spool,
};
use crate::{connection::SettingError, event::Event};

pub use builder::Builder;
pub use drain::{Budget, Drained, Send, Sent, drain};
pub use error::{Ack, Kept, PublishError};
pub use many::Many;
pub use record::Record;

/// How long `enqueue` waits for room in the queue.
const HAND_OVER: Duration = Duration::from_secs(1);
/// How often a wait asks whether it shall go on.
const ASK: Duration = Duration::from_millis(100);
/// How long a close waits for librdkafka's threads, beyond its deadline.
const GRACE: Duration = Duration::from_secs(1);

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
    turn: Turn,
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
            turn: Turn::new(),
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
    /// [`PublishError::NoBroker`] with what librdkafka complains about; [`PublishError::Settings`] when it
    /// makes no client of the settings.
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
        let engine = self.engine(until).map_err(|failure| {
            if failure.of_settings {
                PublishError::Settings(vec![SettingError::new("client", failure.reason)])
            } else {
                none((failure.reason, "fix that and try again"))
            }
        })?;
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
    /// long as that takes: the delivery timeout at most, if nobody goes on publishing. When Kafka has acknowledged
    /// something, it brings some of what waits in the spool along, as a publish does.
    ///
    /// # Errors
    /// [`PublishError::FlushTimedOut`]; what is under way stays under way.
    pub fn flush(&self, deadline: Option<Duration>) -> Result<(), PublishError> {
        self.flush_while(deadline, &mut || true)
    }

    /// [`flush`](Self::flush) that asks from time to time whether it shall go on.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn flush_while(&self, deadline: Option<Duration>, go_on: &mut dyn FnMut() -> bool) -> Result<(), PublishError> {
        let Some(engine) = self.home.existing().and_then(Home::engine) else { return Ok(()) };
        let (began, until) = (Instant::now(), deadline.map(after));
        loop {
            let slice = after(ASK);
            let pending = engine.flush(Some(until.map_or(slice, |until| until.min(slice))));
            if pending == 0 {
                break;
            }
            if until.is_some_and(|until| Instant::now() >= until) || !go_on() {
                let (reason, advice) = engine.silence();
                let within = deadline.unwrap_or_else(|| rounded(began.elapsed()));
                return Err(PublishError::FlushTimedOut { pending, within, reason: format!("{reason}: {advice}") });
            }
        }
        // Whoever only enqueues has no other moment for the spool.
        let until = until.unwrap_or_else(|| after(GRACE));
        if Instant::now() < until && engine.take_acknowledged() {
            self.drain_share(until, go_on);
        }
        Ok(())
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

    fn rescue(&self, record: &Record, failure: &Failure) -> PublishError {
        rescue::into_spool(record, failure, self.spool.as_ref(), &self.servers)
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
