//! What an event in flight takes in memory beyond its record, which is charged when it is received. A body that rules
//! need which came into force later is charged when it is built first.
//!
//! Owns the estimates, each an upper bound of what was measured. A waiting delivery keeps no request body, but
//! how many attempts run at once is up to the agents' settings: each delivery is charged as if its attempt were
//! running.

use crate::event::{Dialect, Event};

/// A delivery in its lane: the entry, the task, the state of its attempts.
pub(super) const DELIVERY: u64 = 6 << 10;

/// One event, and what its deliveries need of it.
pub(super) struct EventCost {
    /// The document if it is decoded, and else what is kept of it.
    document: u64,
    /// The event as JSON.
    text: u64,
    /// One copy of the record.
    record: u64,
    /// The names that the event and its lanes keep besides.
    names: u64,
}

impl EventCost {
    /// `value` is that of its record, and `record` what one copy of the record takes.
    pub(super) fn of(event: &Event, value: Option<&[u8]>, record: u64) -> Self {
        let text = match event.dialect() {
            Dialect::Native => value.map_or(0, <[u8]>::len),
            _ => event.encoded_len(),
        };
        Self {
            document: if event.is_decoded() { event.document_bytes() as u64 } else { kept_trace(event) },
            text: text as u64,
            record,
            names: (3 * (event.workflow_id().len() + event.workflow_run_id().len())
                + event.event_type().as_str().len()
                + event.source().as_str().len()) as u64,
        }
    }

    /// The event itself.
    pub(super) fn event(&self) -> u64 {
        self.document + self.names
    }

    /// One delivery of it. `builds_body`: see [`Plan`](crate::plan::Plan).
    pub(super) fn delivery(&self, builds_body: bool) -> u64 {
        let request = if builds_body { body(self.document, self.text) } else { self.text };
        // A dead letter is written after the last attempt.
        DELIVERY + request.max(dead_letter(self.record))
    }
}

/// What is kept of the metadata of an event that is not decoded.
fn kept_trace(event: &Event) -> u64 {
    event.trace().into_iter().flatten().map(|text| text.len() as u64).sum()
}

/// A body for an event of this document and text. It is built as a document that is copied once into the request, and then as
/// text; one for a chat graph has the event a second time, as a text in the text.
pub(super) fn body(document: u64, text: u64) -> u64 {
    2 * document + 3 * text
}

/// A record that is no event, until its dead letter is acknowledged.
pub(super) fn poison(record: u64) -> u64 {
    DELIVERY + dead_letter(record)
}

/// Writing a record to the dead-letter topic: its headers in two forms, and the producer's copy.
fn dead_letter(record: u64) -> u64 {
    2 * record
}
