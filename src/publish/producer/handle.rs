//! librdkafka's handle and the thread that polls it for reports.
//!
//! The thread polls from the time at which records are handed over until none is in flight, so an idle client costs
//! nothing and closes at once.

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig},
};

use super::{
    context::{Callbacks, DeliveryTicket, ProducerContext},
    delivery::DeliverySlots,
    fallback::SpoolFallback,
};
use crate::{
    connection::reason,
    publish::{
        Record,
        failure::{Cause, Failure},
        fork,
    },
    sync::Mutex,
};

/// How long one poll lasts before the thread checks whether anybody still needs it.
const POLL: Duration = Duration::from_millis(20);
/// How long to leave a full queue alone before the next attempt.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(1);
/// How long a stop waits for reports if everything in flight is settled.
const STOP_SETTLED: Duration = Duration::from_secs(1);
/// How long it waits if not: a host look-up delays the reports until it fails.
const STOP_UNSETTLED: Duration = Duration::from_secs(60);

/// The producer of one process.
pub(in crate::publish) struct Producer {
    producer: Arc<BaseProducer<Callbacks>>,
    context: Arc<ProducerContext>,
    /// Of the process that made it.
    generation: u32,
    ended: Mutex<Option<mpsc::Receiver<()>>>,
    /// The last field to be dropped: see the thread.
    _alive: mpsc::Sender<()>,
}

impl Producer {
    /// Makes the handle and starts the thread; connects in the background.
    pub(super) fn start(config: &ClientConfig, fallback: Arc<SpoolFallback>) -> Result<Self, Failure> {
        let context = Arc::new(ProducerContext::new(config, fallback));
        let producer = BaseProducer::from_config_and_context(config, Callbacks(Arc::clone(&context)))
            .map(Arc::new)
            .map_err(|error| {
                let reason = format!("librdkafka makes no client of these settings: {}", reason(&error));
                Failure::caused_by(Cause::Settings, reason)
            })?;
        let (end, ended) = mpsc::channel();
        let (alive, gone) = mpsc::channel::<()>();
        let (polled, pending) = (Arc::clone(&producer), Arc::clone(&context.pending));
        thread::Builder::new()
            .name("wfe-poll".into())
            .spawn(move || {
                while pending.wait_for_work() {
                    polled.poll(POLL);
                }
                // Dropping the handle waits for librdkafka's threads. No caller may do that, so this thread is the last
                // to hold it; whoever closes may wait for the thread.
                let _ = gone.recv();
                drop(polled);
                // An error means that nobody waits.
                let _ = end.send(());
            })
            .map_err(|error| {
                Failure::new(format!("no thread can be started ({error}): check the limits on threads"))
            })?;
        Ok(Self { producer, context, generation: fork::generation(), ended: Mutex::new(Some(ended)), _alive: alive })
    }

    /// Whether this process made it: no other may touch it.
    pub(in crate::publish) fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Hands a record to librdkafka, and waits for room in its queue, at most until then. The report on an awaited
    /// record needs somebody to [`wait_for`](Self::wait_for) it or to [`request_poll`](Self::request_poll).
    pub(super) fn send(&self, record: &Record, ticket: DeliveryTicket, until: Instant) -> Result<(), Failure> {
        let pending = &self.context.pending;
        if !pending.begin() {
            return Err(Failure::closed());
        }
        let is_enqueued = matches!(ticket, DeliveryTicket::Enqueued { .. });
        if let DeliveryTicket::Awaited { slots, index } = &ticket {
            slots.counted_by(*index, pending);
        }
        let mut message = BaseRecord::with_opaque_to(&record.topic, Box::new(ticket))
            .payload(&record.value)
            .headers(record.headers());
        message.key = record.key();
        loop {
            match self.producer.send(message) {
                Ok(()) => {
                    if is_enqueued {
                        pending.request_poll();
                    }
                    // The purge of a concurrent close may have missed this record.
                    if pending.is_closing() {
                        self.purge();
                    }
                    return Ok(());
                }
                Err((RdError::MessageProduction(Code::QueueFull), back)) if Instant::now() < until => {
                    message = back;
                    // Reports that nobody polls for take up room as well.
                    pending.request_poll();
                    thread::park_timeout(QUEUE_FULL_PAUSE);
                }
                Err((error, _)) => {
                    pending.refused();
                    let health = &self.context.health;
                    if let Some((code, text)) = self.producer.client().fatal_error() {
                        health.record_error(code, &text);
                        health.set_dead();
                    }
                    return Err(health.failure(&error, record.value.len()));
                }
            }
        }
    }

    /// Waits for every report on the records of a call, at most until then.
    pub(in crate::publish) fn wait_for(&self, slots: &DeliverySlots, until: Instant) {
        self.request_poll();
        self.context.pending.spin_then(until, || !slots.is_awaited(), || slots.wait(until));
    }

    /// Has the thread poll until nothing is in flight.
    pub(in crate::publish) fn request_poll(&self) {
        self.context.pending.request_poll();
    }

    /// Waits until everything in flight is settled, at most until then, and returns how much is not.
    pub(in crate::publish) fn flush(&self, until: Option<Instant>) -> usize {
        self.context.pending.flush(until)
    }

    /// Whether a broker is there, asked for at most so long.
    pub(in crate::publish) fn find_broker(&self, within: Duration) -> bool {
        let _polling = self.context.pending.keep_polling();
        self.producer.client().fetch_cluster_id(within).is_some()
    }

    /// Ends the thread and the handle. First it fails what is in flight, and waits until the enqueued records are kept,
    /// however long the disk takes. Returns how many records have no outcome after all, because a host look-up delays
    /// librdkafka's own threads.
    pub(super) fn stop(&self) -> usize {
        self.context.pending.close();
        self.purge();
        self.context.pending.wind_up(STOP_SETTLED, STOP_UNSETTLED)
    }

    /// Fails what is in flight. A blocking purge would wait for librdkafka's threads.
    fn purge(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }

    /// Waits until the thread has ended, at most so long. One that takes longer ends by itself.
    pub(super) fn wait_ended(self: Arc<Self>, within: Duration) {
        let ended = self.ended.lock().take();
        // Drop our hold on the handle first, so that the thread's is the last.
        drop(self);
        if let Some(ended) = ended {
            let _ = ended.recv_timeout(within);
        }
    }

    /// Whether librdkafka has reached a state that it cannot leave.
    pub(super) fn is_dead(&self) -> bool {
        self.context.health.is_dead()
    }

    /// Whether a broker has acknowledged an enqueued record since this was last asked.
    pub(in crate::publish) fn take_acknowledged(&self) -> bool {
        self.context.has_acknowledged.swap(false, Ordering::Relaxed)
    }

    /// Why no acknowledgement comes: what librdkafka complained about last, and what to do.
    pub(in crate::publish) fn explain(&self) -> (String, &'static str) {
        self.context.health.explain()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.context.pending.stop();
    }
}
