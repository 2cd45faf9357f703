//! The public client: checks that it is open, and passes each call on.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::ClientConfig;

use super::{
    Ack, Budget, Drained, Interrupt, PublishBatch, PublishError, Record, Sent,
    drain::{self, DrainSchedule},
    failure::{Cause, Failure},
    keep::keep,
    lifecycle::Keep,
    producer::{Client, flush_timed_out},
    spool::{Spool, SpoolError},
    wait::{CHECK_INTERVAL, after, rounded},
};
use crate::{connection::SettingError, event::Event};

/// How long `enqueue` waits for room in the queue.
const ENQUEUE_WAIT: Duration = Duration::from_secs(1);
/// The time for the spool after a flush without a deadline.
const FLUSH_DRAIN: Duration = Duration::from_secs(1);

/// Publishes events. Every method takes `&self`; threads may share one.
pub struct Publisher {
    client: Client,
    topic: Arc<str>,
    schedule: DrainSchedule,
}

impl Publisher {
    pub(super) fn new(config: ClientConfig, servers: Arc<str>, topic: Arc<str>, spool: Option<Spool>) -> Self {
        Self { client: Client::new(config, servers, spool), topic, schedule: DrainSchedule::new() }
    }

    /// The brokers' addresses, as they were given.
    pub fn bootstrap_servers(&self) -> &str {
        self.client.servers()
    }

    /// Where an event goes that names no topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Where events wait that Kafka did not take.
    pub fn spool(&self) -> Option<&Spool> {
        self.client.spool()
    }

    /// Looks for a broker, for at most so long.
    ///
    /// # Errors
    /// [`PublishError::NoBroker`] with librdkafka's last complaint; [`PublishError::Settings`] if librdkafka makes no
    /// client of the settings.
    pub fn connect(&self, within: Duration, mut interrupt: Interrupt<'_>) -> Result<(), PublishError> {
        self.client.check_open()?;
        let until = after(within);
        let no_broker = |(reason, advice)| {
            let servers = self.bootstrap_servers().to_owned();
            PublishError::NoBroker { servers, within, reason, advice }
        };
        let producer = self.client.producer(until).map_err(|failure| match failure.cause {
            Cause::Settings => PublishError::Settings(vec![SettingError::new("client", failure.reason)]),
            _ => no_broker((failure.reason, "fix that and try again")),
        })?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if producer.find_broker(left.min(CHECK_INTERVAL)) {
                return Ok(());
            }
            if left <= CHECK_INTERVAL || interrupt.is_raised() {
                return Err(no_broker(producer.explain()));
            }
        }
    }

    /// Publishes one event to the client's topic, and waits for the broker's acknowledgement. With a deadline of zero it
    /// goes straight into the spool.
    ///
    /// # Errors
    /// [`PublishError::Spooled`] if the event is safe, but not in Kafka yet;
    /// [`PublishError::TooLarge`] if no later attempt can succeed: it is in the spool's quarantine;
    /// [`PublishError::Lost`] if it is in neither. It may be in Kafka all the same if an acknowledgement was lost:
    /// publishing it again is safe, because the bridge knows its id.
    pub fn publish(&self, event: &Event, deadline: Duration) -> Result<Ack, PublishError> {
        self.publish_record(Record::new(event, &self.topic, None), deadline)
    }

    /// [`publish`](Self::publish), for a record with a topic and a trace context of its own.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_record(&self, record: Record, deadline: Duration) -> Result<Ack, PublishError> {
        self.publish_many(vec![record], deadline).pop().unwrap_or(Err(PublishError::Closed))
    }

    /// Publishes many events within one deadline; the answers come in the order of the records.
    pub fn publish_many(&self, records: Vec<Record>, deadline: Duration) -> Vec<Result<Ack, PublishError>> {
        let mut batch = self.begin(deadline);
        self.add(&mut batch, records);
        self.finish(batch, Interrupt::never())
    }

    #[cfg(test)]
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Begins a batch, for a caller that makes its records while the first of them are on their way. Its deadline is
    /// counted from now.
    pub fn begin(&self, deadline: Duration) -> PublishBatch {
        PublishBatch::new(&self.client, deadline)
    }

    /// [`begin`](Self::begin), for records that the caller took on before the client was closed: if it is closed by now
    /// they go into the spool, where other batches are refused.
    pub fn begin_accepted(&self, deadline: Duration) -> PublishBatch {
        PublishBatch::accepted(&self.client, deadline)
    }

    /// Hands more records of a batch over, and does not wait for their answers.
    pub fn add(&self, batch: &mut PublishBatch, records: Vec<Record>) {
        batch.add(&self.client, records);
    }

    /// Waits for the answers of a batch; they come in the order of the records.
    pub fn finish(&self, batch: PublishBatch, mut interrupt: Interrupt<'_>) -> Vec<Result<Ack, PublishError>> {
        let (answers, until) = batch.finish(&self.client, &mut interrupt);
        if answers.iter().any(Result::is_ok) {
            self.drain_if_due(until, &mut interrupt);
        }
        answers
    }

    /// Sends events that are in a spool already, for [`drain`](drain::drain): what fails is spooled by nobody.
    pub fn send_unspooled(&self, records: &[Record], deadline: Duration) -> Sent {
        PublishBatch::send(&self.client, records, deadline, &mut Interrupt::never())
    }

    /// Hands an event over and does not wait. What fails later goes to the spool, and
    /// [`take_failures`](Self::take_failures) returns it. Until [`flush`](Self::flush) or [`close`](Self::close)
    /// returns, a crash of the process loses the event.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), if it could not even be handed over.
    pub fn enqueue(&self, record: &Record) -> Result<(), PublishError> {
        self.client.check_open()?;
        self.enqueue_accepted(record)
    }

    /// [`enqueue`](Self::enqueue), for an event that the caller took on before the client was closed: if it is closed by
    /// now it goes into the spool.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), if it could not be handed over.
    pub fn enqueue_accepted(&self, record: &Record) -> Result<(), PublishError> {
        let keep_it = |failure: Failure| {
            let place = if failure.is_too_large() { Keep::InQuarantine } else { Keep::InSpool };
            keep((record, &failure, place), self.spool(), self.bootstrap_servers())
        };
        if self.client.check_open().is_err() {
            return Err(keep_it(Failure::closed()));
        }
        self.client.enqueue(record, after(ENQUEUE_WAIT)).map_err(keep_it)
    }

    /// Waits until everything has its outcome; without a deadline, for as long as that takes: the delivery timeout at
    /// most, if nobody goes on publishing. If Kafka has acknowledged something, it publishes some of what waits in the
    /// spool, as a publish does.
    ///
    /// # Errors
    /// [`PublishError::FlushTimedOut`]; what is in flight stays in flight.
    pub fn flush(&self, deadline: Option<Duration>, mut interrupt: Interrupt<'_>) -> Result<(), PublishError> {
        let Some(producer) = self.client.existing() else { return Ok(()) };
        let (began, until) = (Instant::now(), deadline.map(after));
        loop {
            let slice = after(CHECK_INTERVAL);
            let pending = producer.flush(Some(until.map_or(slice, |until| until.min(slice))));
            if pending == 0 {
                break;
            }
            if until.is_some_and(|until| Instant::now() >= until) || interrupt.is_raised() {
                let within = deadline.unwrap_or_else(|| rounded(began.elapsed()));
                return Err(flush_timed_out(&producer, pending, within));
            }
        }
        // A caller that only enqueues has no other moment to drain the spool.
        let until = until.unwrap_or_else(|| after(FLUSH_DRAIN));
        if Instant::now() < until && producer.take_acknowledged() {
            self.drain_if_due(until, &mut interrupt);
        }
        Ok(())
    }

    /// Flushes, spools what is not acknowledged by then, however long the disk takes, and ends the connection. Returns
    /// the failures of enqueued events. A host look-up that hangs may delay it by a minute; what has no outcome then is a
    /// [`PublishError::FlushTimedOut`]. In a forked child it closes the child's connection only. Closing twice does
    /// nothing.
    pub fn close(&self, deadline: Duration) -> Vec<PublishError> {
        self.client.close(deadline)
    }

    /// What became of enqueued events that were not acknowledged, since the last call. Of those that are in the spool,
    /// the newest 10,000 at most.
    pub fn take_failures(&self) -> Vec<PublishError> {
        self.client.take_failures()
    }

    /// Publishes what waits in the client's own spool for the client's own brokers, the oldest first. It takes no longer
    /// than the budget's time, or half a minute for each 100 events if that is less.
    ///
    /// # Errors
    /// As [`drain`](drain::drain).
    pub fn drain(&self, budget: Budget, mut interrupt: Interrupt<'_>) -> Result<Drained, SpoolError> {
        drain::drain_own(&self.client, budget, &mut interrupt)
    }

    /// Kafka is reachable: the spool gets some of the time that is left.
    fn drain_if_due(&self, until: Instant, interrupt: &mut Interrupt<'_>) {
        drain::drain_if_due(&self.client, &self.schedule, until, interrupt);
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("bootstrap_servers", &self.bootstrap_servers())
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Drop for Publisher {
    /// Without a close: what is in flight goes to the spool.
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}
