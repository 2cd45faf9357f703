//! What a publisher sends with, in whichever process it is called.
//!
//! Owns the settings of its producers, and the one of each process: made when it is first needed, replaced when it has
//! failed for good, gone after a close.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::ClientConfig;

use super::{
    context::DeliveryTicket, delivery::DeliverySlots, fallback::SpoolFallback, handle::Producer, slot::ProducerSlot,
};
use crate::publish::{
    PublishError, Record,
    failure::Failure,
    fork::PerProcess,
    spool::Spool,
    wait::{after, rounded},
};

/// How long a close waits for librdkafka's threads, beyond its deadline.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// The producer of the process that asks.
pub(in crate::publish) struct Client {
    config: ClientConfig,
    servers: Arc<str>,
    spool: Option<Spool>,
    slot: PerProcess<ProducerSlot>,
    is_closed: AtomicBool,
}

impl Client {
    pub(in crate::publish) fn new(config: ClientConfig, servers: Arc<str>, spool: Option<Spool>) -> Self {
        Self { config, servers, spool, slot: PerProcess::new(), is_closed: AtomicBool::new(false) }
    }

    pub(in crate::publish) fn servers(&self) -> &str {
        &self.servers
    }

    /// Where records go that fail.
    pub(in crate::publish) fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// Whether a broker confirms what it has: with `acks=0` none does.
    pub(in crate::publish) fn has_acknowledgements(&self) -> bool {
        self.config.get("acks") != Some("0")
    }

    pub(in crate::publish) fn check_open(&self) -> Result<(), PublishError> {
        if self.is_closed.load(Ordering::SeqCst) { Err(PublishError::Closed) } else { Ok(()) }
    }

    fn slot(&self) -> &ProducerSlot {
        self.slot.get(|| ProducerSlot::new(SpoolFallback::new(self.spool.clone(), self.servers.clone())))
    }

    /// This process's producer, made if there is none.
    pub(in crate::publish) fn producer(&self, until: Instant) -> Result<Arc<Producer>, Failure> {
        let slot = self.slot();
        if let Some(dead) = slot.take_dead() {
            tracing::warn!(error = dead.explain().0, "the Kafka client has failed for good: making a new one");
            // Failing what it has in flight takes its time; without a thread it happens here.
            let retired = Arc::clone(&dead);
            if thread::Builder::new().name("wfe-end".into()).spawn(move || retired.stop()).is_err() {
                dead.stop();
            }
        }
        slot.open(until, || {
            let (config, fallback) = (self.config.clone(), Arc::clone(slot.fallback()));
            move || Producer::start(&config, fallback)
        })
    }

    /// This process's producer, if it is made.
    pub(in crate::publish) fn existing(&self) -> Option<Arc<Producer>> {
        self.slot.existing().and_then(ProducerSlot::producer)
    }

    /// Hands an awaited record over, and returns the producer that has it.
    pub(in crate::publish) fn send(
        &self,
        producer: Arc<Producer>,
        record: &Record,
        slots: &Arc<DeliverySlots>,
        index: usize,
        until: Instant,
    ) -> Result<Arc<Producer>, Failure> {
        let ticket = || DeliveryTicket::Awaited { slots: Arc::clone(slots), index };
        self.hand_over(producer, record, ticket, until)
    }

    /// Hands a record over that nobody waits for.
    pub(in crate::publish) fn enqueue(&self, record: &Record, until: Instant) -> Result<(), Failure> {
        let producer = self.producer(until)?;
        let is_chosen = record.chosen_envelope().is_some();
        self.hand_over(producer, record, || DeliveryTicket::Enqueued { is_chosen }, until).map(drop)
    }

    /// To a new producer, if this one turns out to be dead.
    fn hand_over(
        &self,
        producer: Arc<Producer>,
        record: &Record,
        ticket: impl Fn() -> DeliveryTicket,
        until: Instant,
    ) -> Result<Arc<Producer>, Failure> {
        match producer.send(record, ticket(), until) {
            Ok(()) => Ok(producer),
            Err(_) if producer.is_dead() => {
                let fresh = self.producer(until)?;
                fresh.send(record, ticket(), until).map(|()| fresh)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Flushes, keeps what has no acknowledgement by then, and ends this process's producer.
    pub(in crate::publish) fn close(&self, deadline: Duration) -> Vec<PublishError> {
        self.is_closed.store(true, Ordering::SeqCst);
        // Also where there is no producer yet: a thread that found the client open must not make one now.
        let slot = self.slot();
        let mut without_outcome = None;
        if let Some(producer) = slot.close() {
            let began = Instant::now();
            producer.flush(Some(after(deadline)));
            let pending = producer.stop();
            if pending > 0 {
                without_outcome = Some(flush_timed_out(&producer, pending, rounded(began.elapsed())));
            }
            producer.wait_ended(CLOSE_GRACE);
        }
        let mut failures = slot.fallback().take_failures();
        failures.extend(without_outcome);
        failures
    }

    /// The failures of enqueued records since the last call.
    pub(in crate::publish) fn take_failures(&self) -> Vec<PublishError> {
        self.slot.existing().map_or_else(Vec::new, |slot| slot.fallback().take_failures())
    }
}

/// Some records have no acknowledgement after so long.
pub(in crate::publish) fn flush_timed_out(producer: &Producer, pending: usize, within: Duration) -> PublishError {
    let (reason, advice) = producer.explain();
    PublishError::FlushTimedOut { pending, within, reason: format!("{reason}: {advice}") }
}
