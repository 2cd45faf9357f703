//! librdkafka's callbacks: errors, and the report on each record. They run on the poll thread.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::DeliveryResult,
};

use super::{
    delivery::DeliverySlots,
    fallback::{FailedRecord, SpoolFallback},
    health::Health,
    pending::PendingRecords,
};
use crate::{
    connection::speaks_another_protocol,
    publish::{
        Ack, Record,
        lifecycle::{Action, Event, RecordLife},
    },
};

/// Who learns what became of a record: travels with it through librdkafka.
pub(super) enum DeliveryTicket {
    /// A caller, who waits.
    Awaited { slots: Arc<DeliverySlots>, index: usize },
    /// Nobody: what fails is spooled at once, with the key and the headers that were chosen for it, if they were.
    Enqueued { is_chosen: bool },
}

/// What the callbacks, the poll thread and the callers share.
pub(super) struct ProducerContext {
    pub(super) pending: Arc<PendingRecords>,
    pub(super) health: Health,
    pub(super) fallback: Arc<SpoolFallback>,
    /// A broker has acknowledged an enqueued record since somebody asked.
    pub(super) has_acknowledged: AtomicBool,
    /// A success without an offset may be that of a later request: librdkafka takes for granted that a broker refuses a request
    /// whose predecessor it lacks, which it does not where it has no state of the producer yet. (Of a single request in
    /// flight it is a repeated one that the broker had already.)
    needs_offset: bool,
}

impl ProducerContext {
    pub(super) fn new(config: &ClientConfig, fallback: Arc<SpoolFallback>) -> Self {
        let is_idempotent = config.get("enable.idempotence") == Some("true");
        let is_single = config.get("max.in.flight.requests.per.connection") == Some("1");
        Self {
            pending: Arc::default(),
            health: Health::default(),
            fallback,
            has_acknowledged: AtomicBool::new(false),
            needs_offset: is_idempotent && !is_single,
        }
    }
}

/// The same, as rdkafka takes it.
pub(super) struct Callbacks(pub(super) Arc<ProducerContext>);

impl ClientContext for Callbacks {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        // TLS or SASL on one side only: no error callback reports that.
        if facility == "FAIL" && speaks_another_protocol(text) {
            self.0.health.record_error(Code::BrokerTransportFailure, text);
        }
    }

    fn error(&self, error: RdError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        if code == Code::Fatal {
            self.0.health.set_dead();
        }
        self.0.health.record_error(code, reason);
    }
}

impl rdkafka::producer::ProducerContext for Callbacks {
    type DeliveryOpaque = Box<DeliveryTicket>;

    fn delivery(&self, report: &DeliveryResult<'_>, ticket: Box<DeliveryTicket>) {
        let ProducerContext { pending, health, fallback, has_acknowledged, needs_offset } = &*self.0;
        let (result, message) = match report {
            Ok(message) if *needs_offset && message.offset() < 0 => {
                let error = RdError::MessageProduction(Code::Inconsistent);
                (Err(health.failure(&error, message.payload_len())), message)
            }
            Ok(message) => {
                health.clear_error();
                // With acks=0 librdkafka reports an offset of its own for "unknown".
                (Ok(Ack { partition: message.partition(), offset: message.offset().max(-1) }), message)
            }
            Err((error, message)) => (Err(health.failure(error, message.payload_len())), message),
        };
        let change = match *ticket {
            DeliveryTicket::Awaited { slots, index } => slots.report(index, result),
            DeliveryTicket::Enqueued { is_chosen } => {
                let mut life = RecordLife::enqueued();
                let is_acknowledged = result.is_ok();
                let (action, change) = life.on(result.map_or_else(Event::Failed, Event::Acknowledged));
                if is_acknowledged {
                    has_acknowledged.store(true, Ordering::Relaxed);
                }
                if let Action::Keep(keep, Some(failure)) = action {
                    let pending = Arc::clone(pending);
                    let record = Record::read_back(message, is_chosen);
                    fallback.add(FailedRecord { record, life, failure, keep, pending });
                }
                change
            }
        };
        pending.apply(change);
    }
}
