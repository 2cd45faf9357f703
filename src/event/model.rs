//! The decoded event, and where its record is in Kafka.

use std::{fmt, io, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    dialect::Dialect,
    lazy::Document,
    memory,
    names::{EventType, Source},
};

/// The longest `event_id`, in bytes.
pub const MAX_EVENT_ID_BYTES: usize = 255;

/// One workflow event, decoded. Two are equal when their documents are, whatever their dialects.
#[derive(Debug, Clone)]
pub struct Event {
    pub(super) id: Box<str>,
    pub(super) event_type: EventType,
    pub(super) source: Source,
    pub(super) timestamp: Timestamp,
    pub(super) workflow_id: Box<str>,
    pub(super) workflow_run_id: Box<str>,
    pub(super) document: Document,
    pub(super) dialect: Dialect,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.document() == other.document()
    }
}

impl Event {
    /// The fields that every document has, in their order.
    pub const FIELDS: [&str; 8] =
        ["event_id", "event_type", "timestamp", "source", "workflow_id", "workflow_run_id", "payload", "metadata"];

    /// The identity of the event: 1 to 255 bytes without control characters.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What happened to the workflow.
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// The system that reported it.
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

    /// The whole event as a JSON object in the canonical spelling, unknown fields included. Patterns
    /// and templates read it. Of an event of which the bridge needed no more than the envelope, the first call decodes it.
    pub fn document(&self) -> &Value {
        self.document.get()
    }

    /// The format that it was read from.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The record key, and the first half of a lane: `workflow_id/workflow_run_id`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.workflow_id, self.workflow_run_id)
    }

    /// The native wire format, whatever the event was read from: one JSON object in UTF-8, the fields
    /// of [`FIELDS`](Self::FIELDS) first.
    pub fn encode(&self) -> Vec<u8> {
        self.document().to_string().into_bytes()
    }

    /// About how much memory the document takes, in bytes.
    pub fn document_bytes(&self) -> usize {
        memory::document_bytes(self.document())
    }

    /// Whether the document is in memory.
    #[cfg(feature = "consume")]
    pub(crate) fn is_decoded(&self) -> bool {
        self.document.is_decoded()
    }

    /// `traceparent` and `tracestate` of its metadata, where they are texts.
    #[cfg(feature = "consume")]
    pub(crate) fn trace(&self) -> [Option<&str>; 2] {
        self.document.trace()
    }

    /// The length of [`encode`](Self::encode), without building it.
    pub fn encoded_len(&self) -> usize {
        struct Counter(usize);
        impl io::Write for Counter {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += bytes.len();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut counter = Counter(0);
        // Neither a document with string keys nor this writer can fail.
        let _ = serde_json::to_writer(&mut counter, self.document());
        counter.0
    }
}

/// The coordinates of a record in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The topic that it was read from.
    pub topic: Arc<str>,
    /// The partition of the topic.
    pub partition: i32,
    /// The offset within the partition.
    pub offset: i64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}
