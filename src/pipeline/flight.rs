//! An event under way: what was received, and how far each of its deliveries is.
//!
//! Owns the event's one ledger record while the event is in flight: every change goes through
//! [`Flight::change`], which writes the record in the order of the changes.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

use super::cost;
use crate::{
    dedup::{Ledger, LedgerError, Record},
    event::{BYTE_ORDER_MARK, Event, Origin},
    kafka::{OwnedHeader, Ticket},
};

/// A record as it came from Kafka, kept whole until its outcome: a dead letter needs all of it.
pub(super) struct Received {
    pub(super) origin: Origin,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Arc<[OwnedHeader]>,
    /// When the broker appended it (or its producer made it), in ms since 1970.
    pub(super) timestamp_ms: Option<u64>,
}

impl Received {
    /// The value as an agent gets it: without the byte order mark that some publishers write before it.
    pub(super) fn text(&self) -> Bytes {
        let value = self.value.clone().unwrap_or_default();
        if value.starts_with(BYTE_ORDER_MARK) { value.slice(BYTE_ORDER_MARK.len()..) } else { value }
    }
}

/// An event that has been received and has no outcome yet.
pub(super) struct Arrival {
    pub(super) event: Arc<Event>,
    pub(super) received: Received,
    pub(super) ticket: Ticket,
    /// The deliveries that the rules ask for now: (rule, agent).
    pub(super) plan: Vec<(Arc<str>, Arc<str>)>,
}

pub(super) struct Flight {
    pub(super) event: Arc<Event>,
    pub(super) received: Received,
    record: Mutex<Record>,
    ticket: Mutex<Option<Ticket>>,
    open: AtomicUsize,
}

impl Flight {
    pub(super) fn new(mut arrival: Arrival, record: Record, deliveries: usize) -> Self {
        // What an earlier process planned may be more than the rules ask for now.
        arrival.ticket.charge(deliveries.saturating_sub(arrival.plan.len()) as u64 * cost::DELIVERY);
        Self {
            event: arrival.event,
            received: arrival.received,
            record: Mutex::new(record),
            ticket: Mutex::new(Some(arrival.ticket)),
            open: AtomicUsize::new(deliveries),
        }
    }

    /// Reads the record.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the record and writes it to the ledger, one change at a time.
    pub(super) fn change(&self, ledger: &Ledger, change: impl FnOnce(&mut Record)) -> Result<(), LedgerError> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut record);
        ledger.put(self.event.id(), &record)
    }

    /// Counts an attempt that was made, and says which it was: the first is 1. It is written with the
    /// next change, which follows every attempt.
    pub(super) fn tried(&self, rule: &str, agent: &str) -> u32 {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.note_tried(rule, agent);
        record.tried(rule, agent)
    }

    /// Notes the end of one delivery; true for the last.
    pub(super) fn delivery_ended(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The ticket, once: the event has its outcome.
    pub(super) fn take_ticket(&self) -> Option<Ticket> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_gets_the_event_without_a_byte_order_mark() {
        for value in ["{}", "\u{feff}{}"] {
            let received = Received {
                origin: Origin { topic: "events".into(), partition: 0, offset: 0 },
                key: None,
                value: Some(value.into()),
                headers: [].into(),
                timestamp_ms: None,
            };
            assert_eq!(received.text(), "{}");
        }
    }
}
