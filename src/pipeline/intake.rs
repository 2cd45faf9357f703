//! The consumer loop's end of the pipeline: decode, route, and settle at once what nobody wants.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use metrics::counter;
use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::{debug, error, warn};

use super::{
    Outcome, Poisoned, Shared,
    dispatch::Message,
    flight::{Arrival, Received},
    now_ms,
};
use crate::{
    event::{Event, EventType, Origin, Raw, decode},
    kafka::{Incoming, Receive, Ticket},
    telemetry,
};

/// Takes in records on the consumer's thread. Never blocks.
pub struct Intake {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Message>,
    unknown_types: HashSet<Box<str>>,
}

/// Unknown event types that are told of, once each.
const MAX_UNKNOWN_TYPES: usize = 100;

impl Intake {
    pub(super) fn new(shared: Arc<Shared>, sender: mpsc::Sender<Message>) -> Self {
        Self { shared, sender, unknown_types: HashSet::new() }
    }

    /// No rule can name an unknown type, so a misspelt one would vanish without a word.
    fn unmatched(&mut self, event: &Event, origin: &Origin) {
        debug!(event_id = event.id(), %origin, event_type = %event.event_type(), "unmatched");
        if let EventType::Other(name) = event.event_type()
            && self.unknown_types.len() < MAX_UNKNOWN_TYPES
            && self.unknown_types.insert(name.clone())
        {
            let known = EventType::NAMES;
            warn!(event_type = %name, ?known, %origin, "unknown event_type: no rule can name it (said once for each)");
        }
    }

    fn send(&self, message: Message) {
        match self.sender.try_send(message) {
            // Stopping: the ticket is dropped, and the record is read again by the next start.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(Message::Arrival(arrival))) => full(&arrival.received),
            Err(TrySendError::Full(Message::Poison(poisoned))) => full(&poisoned.received),
        }
    }
}

impl Receive for Intake {
    fn receive(&mut self, record: Incoming<'_>) {
        if let Some(ms) = record.timestamp_ms.and_then(|ms| u64::try_from(ms).ok()) {
            // A time in the future must not switch the guard of the expiry off.
            self.shared.newest_record_ms.fetch_max(ms.min(now_ms()), Ordering::Relaxed);
        }
        let headers: Vec<_> = record.headers.iter().collect();
        let raw = Raw { key: record.key, value: record.value, headers: &headers, timestamp_ms: record.timestamp_ms };
        let event = match decode(raw) {
            Ok(event) => event,
            Err(poison) => {
                let (received, ticket) = own(record);
                return self.send(Message::Poison(Box::new(Poisoned { received, ticket, poison })));
            }
        };
        let mut plan = Vec::new();
        for rule in self.shared.routing.router().matches(event.document()) {
            plan.extend(rule.agents().iter().map(|agent| (Arc::clone(rule.name()), Arc::clone(agent))));
        }
        // An event that nobody wants now may still be half delivered by rules that are gone.
        if plan.is_empty() && matches!(self.shared.ledger.get(event.id()), Ok(None)) {
            counter!(telemetry::EVENTS, "outcome" => "unmatched").increment(1);
            self.unmatched(&event, &record.origin);
            self.shared.observe(|| Outcome {
                event_id: Some(event.id().to_owned()),
                origin: record.origin.clone(),
                outcome: "unmatched",
                deliveries: Vec::new(),
                reason: None,
            });
            return record.ticket.settle();
        }
        // Before anything can be decided on it: what the ledger knows of it stays until it is committed.
        self.shared.uncommitted.received(&record.origin, event.id());
        let (received, ticket) = own(record);
        self.send(Message::Arrival(Box::new(Arrival { event: Arc::new(event), received, ticket, plan })));
    }
}

/// Cannot be: every message holds a place in the budget, and the queue has that length.
fn full(received: &Received) {
    error!(
        origin = %received.origin,
        "the queue to the lanes is full: this record is read again after a restart; this is a defect, please report it"
    );
}

fn own(record: Incoming<'_>) -> (Received, Ticket) {
    let received = Received {
        key: record.key.map(Bytes::copy_from_slice),
        value: record.value.map(Bytes::copy_from_slice),
        headers: record.headers.to_owned(),
        timestamp_ms: record.timestamp_ms.and_then(|ms| u64::try_from(ms).ok()),
        origin: record.origin,
    };
    (received, record.ticket)
}
