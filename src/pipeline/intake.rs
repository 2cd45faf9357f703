//! The consumer loop's end of the pipeline: decode, route, and settle at once what nobody wants.

use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use metrics::counter;
use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::{debug, error, warn};

use super::{
    Outcome, Poisoned, Shared,
    cost::{self, EventCost},
    dispatch::Message,
    flight::{Arrival, Received},
    now_ms,
};
use crate::{
    event::{Event, EventType, Limits, Origin, Poison, Raw},
    kafka::{Incoming, Receive, Ticket},
    telemetry,
};

/// Takes in records on the consumer's thread. Never blocks.
pub struct Intake {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Message>,
    limits: Limits,
    unknown_types: HashSet<Box<str>>,
}

/// Unknown event types that are logged, once each.
const MAX_UNKNOWN_TYPES: usize = 100;
/// How much of an unknown event type is logged and kept, in characters: it may be as long as a record.
const MAX_TYPE_CHARS: usize = 100;

impl Intake {
    pub(super) fn new(shared: Arc<Shared>, sender: mpsc::Sender<Message>, limits: Limits) -> Self {
        Self { shared, sender, limits, unknown_types: HashSet::new() }
    }

    /// A misspelt type matches no rule, and its events would vanish without a word.
    fn unmatched(&mut self, event: &Event, origin: &Origin) {
        let name = excerpt(event.event_type().as_str());
        debug!(event_id = event.id(), %origin, event_type = %name, "unmatched");
        if matches!(event.event_type(), EventType::Other(_))
            && self.unknown_types.len() < MAX_UNKNOWN_TYPES
            && !self.unknown_types.contains(&*name)
        {
            self.unknown_types.insert(name.as_ref().into());
            let known = EventType::NAMES;
            warn!(event_type = %name, ?known, %origin, "no rule matched an event whose event_type this version does not know (logged once for each type)");
        }
    }

    /// Reads a record as an event. Its size is looked at before anything of it is copied or parsed.
    fn read(&self, record: &Incoming<'_>) -> Result<Event, Poison> {
        self.limits.check(&record.size())?;
        let headers: Vec<_> = record.headers.iter().collect();
        self.limits.decode(Raw {
            key: record.key,
            value: record.value,
            headers: &headers,
            timestamp_ms: record.timestamp_ms,
        })
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

/// The beginning of a name.
fn excerpt(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MAX_TYPE_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]).into(),
        None => name.into(),
    }
}

impl Receive for Intake {
    fn receive(&mut self, mut record: Incoming<'_>) {
        if let Some(ms) = record.timestamp_ms.and_then(|ms| u64::try_from(ms).ok()) {
            // A time in the future must not switch the guard of the expiry off.
            self.shared.newest_record_ms.fetch_max(ms.min(now_ms()), Ordering::Relaxed);
        }
        let event = match self.read(&record) {
            Ok(event) => event,
            Err(poison) => {
                record.ticket.charge(cost::poison(record.copy_cost()));
                let (received, ticket) = own(record);
                return self.send(Message::Poison(Box::new(Poisoned { received, ticket, poison })));
            }
        };
        let takes = EventCost::of(&event, &record);
        let mut charge = takes.event();
        let mut plan = Vec::new();
        for rule in self.shared.routing.router().matches(event.document()) {
            for agent in rule.agents() {
                plan.push((Arc::clone(rule.name()), Arc::clone(agent)));
                charge +=
                    self.shared.agents.get(agent).map_or(0, |runtime| takes.delivery(&rule, &runtime.spec.endpoint));
            }
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
        record.ticket.charge(charge);

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
        headers: record.headers.to_owned().into(),
        timestamp_ms: record.timestamp_ms.and_then(|ms| u64::try_from(ms).ok()),
        origin: record.origin,
    };
    (received, record.ticket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_kept_and_logged_as_its_beginning() {
        assert_eq!(excerpt("WORKFLOW_EXPLODED"), "WORKFLOW_EXPLODED");
        let long = excerpt(&"é".repeat(500_000)).into_owned();
        assert_eq!(long.chars().count(), MAX_TYPE_CHARS + 1);
        assert!(long.ends_with('…'));
    }
}
