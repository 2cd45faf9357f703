//! The workflow event: what it is, how it is read and written, and what is no event at all.
//!
//! Owns the wire format, the dialects that are read as well, the ids that are derived from an event,
//! and the meaning of *poison*. Its invariant: a decoded [`Event`] always has an id, a type, a source,
//! a time, a workflow and a run, and its [`document`](Event::document) says the same in the canonical
//! spelling. It knows nothing of Kafka's client, of rules or of agents.

mod airflow;
mod base64;
mod canonical;
mod cloudevents;
mod decode;
mod hints;
mod ids;
mod limits;
mod names;
mod native;
mod poison;
mod read;
mod weight;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

pub use canonical::Canonical;
pub use decode::{Dialect, Raw, decode};
pub use ids::{DeliveryId, digest};
pub use limits::{DECODED_FACTOR, DEFAULT_MAX_RECORD_BYTES, Limits, MAX_HEADER_BYTES, MAX_HEADERS, RecordSize};
pub use names::{EventType, Source};
pub use poison::Poison;
pub use read::BYTE_ORDER_MARK;

/// The longest `event_id`, in bytes.
pub const MAX_EVENT_ID_BYTES: usize = 255;

/// One workflow event, decoded. Two are equal when they say the same, in whatever dialect.
#[derive(Debug, Clone)]
pub struct Event {
    id: Box<str>,
    event_type: EventType,
    source: Source,
    timestamp: Timestamp,
    workflow_id: Box<str>,
    workflow_run_id: Box<str>,
    document: Value,
    dialect: Dialect,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl Event {
    /// The identity of the event: 1 to 255 bytes without control characters.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What happened to the workflow.
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// The system that says so.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// When it happened. A time without an offset was read as UTC.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The workflow: for Airflow, the DAG's id.
    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// The run of the workflow: for Airflow, the DAG run's id.
    pub fn workflow_run_id(&self) -> &str {
        &self.workflow_run_id
    }

    /// The whole event as a JSON object, fields unknown to this crate included, in the canonical
    /// spelling: what patterns match and templates see.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// What it was written in.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The record key, and the first half of a lane: `workflow_id/workflow_run_id`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.workflow_id, self.workflow_run_id)
    }

    /// The wire format, native whatever it was read from: one JSON object, UTF-8, with the canonical
    /// names first.
    pub fn encode(&self) -> Vec<u8> {
        self.document.to_string().into_bytes()
    }

    /// About how much memory the document takes, in bytes.
    pub fn document_bytes(&self) -> usize {
        weight::weigh(&self.document)
    }

    /// How long [`encode`](Self::encode) makes it.
    pub fn encoded_len(&self) -> usize {
        struct Counter(usize);
        impl std::io::Write for Counter {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 += bytes.len();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut counter = Counter(0);
        // Neither a document with string keys nor this writer can fail.
        let _ = serde_json::to_writer(&mut counter, &self.document);
        counter.0
    }
}

/// Where a record stands in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The topic that it was read from.
    pub topic: Arc<str>,
    /// The partition of the topic.
    pub partition: i32,
    /// The offset within the partition.
    pub offset: i64,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}
