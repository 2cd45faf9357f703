//! An event as it goes over the wire.
//!
//! Owns the record's key and headers. Its invariants: a workflow event is in the canonical spelling, and what cannot be
//! decoded never becomes a [`Record`]; of any other event, the id is the header `event_id`, the value is text, and key and
//! headers are within their limits.

use std::sync::Arc;

use rdkafka::{
    Message as _,
    message::{BorrowedMessage, Header, Headers as _, OwnedHeaders},
};

use crate::{
    connection::bad_topic,
    event::{Canonical, Event, Limits, Poison, RecordSize, check_event_id, decode},
};

/// One event, encoded and addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it goes.
    pub(super) topic: Arc<str>,
    /// The event's id: the header `event_id`.
    pub(super) event_id: Box<str>,
    /// The event in JSON, UTF-8; a workflow event on one line.
    pub(super) value: Vec<u8>,
    pub(super) envelope: Envelope,
}

/// The key and the other headers of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Envelope {
    /// Of a workflow event: they follow from the event.
    Workflow {
        /// `workflow_id/workflow_run_id`, which keeps the events of a run in one partition, in order.
        key: Box<str>,
        /// The event's type: the header `event_type`.
        event_type: Box<str>,
        /// The W3C trace context, as the header `traceparent`.
        traceparent: Option<Box<str>>,
    },
    /// As the publisher chose them.
    Chosen(Chosen),
}

/// A key and headers that a publisher chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Records with one key are in one partition, in order; without one they are anywhere.
    pub(super) key: Option<Box<str>>,
    /// Beside `event_id`.
    pub(super) headers: Vec<(Box<str>, Box<str>)>,
}

/// Why there is no record with the key, the headers and the value that a publisher chose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {problem}")]
pub struct InvalidRecord {
    part: &'static str,
    problem: String,
}

/// The longest key that a publisher may choose, in bytes.
const MAX_KEY_BYTES: usize = 4 << 10;
/// The most headers that a publisher may choose.
const MAX_CHOSEN_HEADERS: usize = 100;
/// The most bytes in the names and values of those headers, together.
const MAX_CHOSEN_HEADER_BYTES: usize = 8 << 10;
/// The header that every record has.
const EVENT_ID: &str = "event_id";

impl Record {
    /// Encodes an event for a topic.
    pub fn new(event: &Event, topic: &Arc<str>, traceparent: Option<&str>) -> Self {
        Self {
            topic: Arc::clone(topic),
            event_id: event.id().into(),
            value: event.encode(),
            envelope: Envelope::Workflow {
                key: event.key().into(),
                event_type: event.event_type().as_str().into(),
                traceparent: traceparent.map(Into::into),
            },
        }
        .with_size_warning()
    }

    /// Reads an event in JSON, as liberally as the bridge does, and writes it in the canonical spelling.
    ///
    /// # Errors
    /// [`Poison`] when the bridge could not read it either.
    pub fn from_json(value: &[u8], topic: &Arc<str>, traceparent: Option<&str>) -> Result<Self, Poison> {
        if let Some(event) = Canonical::read(value) {
            return Ok(Self {
                topic: Arc::clone(topic),
                envelope: Envelope::Workflow {
                    key: format!("{}/{}", event.workflow_id, event.workflow_run_id).into(),
                    event_type: event.event_type.into(),
                    traceparent: traceparent.map(Into::into),
                },
                event_id: event.event_id.into(),
                value: value.to_vec(),
            }
            .with_size_warning());
        }
        decode(Some(value)).map(|event| Self::new(&event, topic, traceparent))
    }

    /// An event of another kind, with a key and headers of the publisher's choice, beside the header `event_id`.
    ///
    /// # Errors
    /// [`InvalidRecord`] says what is wrong with which part. The value itself is not read, beyond that it is text.
    pub fn chosen(
        topic: &Arc<str>,
        event_id: &str,
        key: Option<&str>,
        headers: &[(&str, &str)],
        value: Vec<u8>,
    ) -> Result<Self, InvalidRecord> {
        let invalid = |part, problem| Err(InvalidRecord { part, problem });
        if let Some(problem) = bad_topic(topic) {
            return invalid("topic", problem);
        }
        if let Err(poison) = check_event_id(event_id) {
            return invalid("event_id", poison.to_string());
        }
        if let Some(key) = key.filter(|key| key.len() > MAX_KEY_BYTES) {
            return invalid("key", format!("expected at most {MAX_KEY_BYTES} bytes, found {}", key.len()));
        }
        if headers.len() > MAX_CHOSEN_HEADERS {
            return invalid("headers", format!("expected at most {MAX_CHOSEN_HEADERS}, found {}", headers.len()));
        }
        if headers.iter().any(|(name, _)| name.is_empty() || name.contains('\0') || *name == EVENT_ID) {
            let expected =
                "expected names that are not empty, without a zero byte, and not `event_id`, which is always there";
            return invalid("headers", expected.to_owned());
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_CHOSEN_HEADER_BYTES {
            let problem =
                format!("expected at most {MAX_CHOSEN_HEADER_BYTES} bytes in names and values, found {bytes}");
            return invalid("headers", problem);
        }
        if value.is_empty() || std::str::from_utf8(&value).is_err() {
            return invalid("value", "expected text in UTF-8, and at least one byte of it".to_owned());
        }
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let envelope = Envelope::Chosen(Chosen { key: key.map(Into::into), headers });
        let event_id = event_id.into();
        Ok(Self { topic: Arc::clone(topic), event_id, value, envelope }.with_size_warning())
    }

    /// The record that was handed to librdkafka, as it has it.
    pub(super) fn read_back(message: &BorrowedMessage<'_>, is_chosen: bool) -> Self {
        let text = |bytes: &[u8]| -> Box<str> { String::from_utf8_lossy(bytes).into() };
        let mut headers: Vec<(Box<str>, Box<str>)> = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.into(), text(header.value.unwrap_or_default()))).collect()
        });
        let mut take = |name: &str| {
            let at = headers.iter().position(|(found, _)| &**found == name)?;
            Some(headers.remove(at).1)
        };
        let event_id = take(EVENT_ID).unwrap_or_default();
        let key = message.key().map(text);
        let envelope = if is_chosen {
            Envelope::Chosen(Chosen { key, headers })
        } else {
            Envelope::Workflow {
                key: key.unwrap_or_default(),
                event_type: take("event_type").unwrap_or_default(),
                traceparent: take("traceparent"),
            }
        };
        Self {
            topic: message.topic().into(),
            event_id,
            value: message.payload().unwrap_or_default().to_vec(),
            envelope,
        }
    }

    /// Warns of an event that Kafka may accept and a bridge does not. It is published all the same: the limit is a setting
    /// of the bridge.
    fn with_size_warning(self) -> Self {
        let key = self.key().map_or(0, str::len);
        let size = RecordSize { key, value: self.value.len(), ..RecordSize::default() };
        if let Some(reason) = Limits::default().refuses(&size, &self.value) {
            tracing::warn!(
                event_id = &*self.event_id, %reason,
                "the event exceeds the size that a bridge reads by default: such a bridge dead-letters it (too_large)"
            );
        }
        self
    }

    /// Where it goes.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The event's id.
    pub fn event_id(&self) -> &str {
        &self.event_id
    }

    /// The record's key; of a workflow event `workflow_id/workflow_run_id`.
    pub fn key(&self) -> Option<&str> {
        match &self.envelope {
            Envelope::Workflow { key, .. } => Some(key),
            Envelope::Chosen(chosen) => chosen.key.as_deref(),
        }
    }

    /// The event in JSON, UTF-8; a workflow event on one line.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The W3C trace context of a workflow event.
    pub(super) fn traceparent(&self) -> Option<&str> {
        match &self.envelope {
            Envelope::Workflow { traceparent, .. } => traceparent.as_deref(),
            Envelope::Chosen(_) => None,
        }
    }

    /// The key and the headers, where they do not follow from the event.
    pub(super) fn chosen_envelope(&self) -> Option<&Chosen> {
        match &self.envelope {
            Envelope::Workflow { .. } => None,
            Envelope::Chosen(chosen) => Some(chosen),
        }
    }

    pub(super) fn headers(&self) -> OwnedHeaders {
        let id = |more| with(OwnedHeaders::new_with_capacity(1 + more), EVENT_ID, &self.event_id);
        match &self.envelope {
            Envelope::Workflow { event_type, traceparent, .. } => {
                let headers = with(id(3), "event_type", event_type);
                let headers = with(headers, "content-type", "application/json");
                match traceparent {
                    Some(traceparent) => with(headers, "traceparent", traceparent),
                    None => headers,
                }
            }
            Envelope::Chosen(Chosen { headers, .. }) => {
                headers.iter().fold(id(headers.len()), |all, (name, value)| with(all, name, value))
            }
        }
    }
}

fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}
