//! An event as it goes over the wire.
//!
//! Owns the record's key and headers. Its invariant: the value is an event in the canonical spelling; what cannot be
//! decoded never becomes a [`Record`].

use std::sync::Arc;

use rdkafka::message::{Header, OwnedHeaders};

use crate::event::{Canonical, Event, Limits, Poison, RecordSize, decode};

/// One event, encoded and addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it goes.
    pub(super) topic: Arc<str>,
    /// The event's id: the header `event_id`.
    pub(super) event_id: Box<str>,
    /// The event's type: the header `event_type`.
    pub(super) event_type: Box<str>,
    /// `workflow_id/workflow_run_id`, which keeps the events of a run in one partition, in order.
    pub(super) key: Box<str>,
    /// The event in JSON, UTF-8, on one line.
    pub(super) value: Vec<u8>,
    /// The W3C trace context, as the header `traceparent`.
    pub(super) traceparent: Option<Box<str>>,
}

impl Record {
    /// Encodes an event for a topic.
    pub fn new(event: &Event, topic: &Arc<str>, traceparent: Option<&str>) -> Self {
        Self {
            topic: Arc::clone(topic),
            event_id: event.id().into(),
            event_type: event.event_type().as_str().into(),
            key: event.key().into(),
            value: event.encode(),
            traceparent: traceparent.map(Into::into),
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
                key: format!("{}/{}", event.workflow_id, event.workflow_run_id).into(),
                event_id: event.event_id.into(),
                event_type: event.event_type.into(),
                value: value.to_vec(),
                traceparent: traceparent.map(Into::into),
            }
            .with_size_warning());
        }
        decode(Some(value)).map(|event| Self::new(&event, topic, traceparent))
    }

    /// Warns of an event that Kafka may accept and a bridge does not. It is published all the same: the limit is a setting
    /// of the bridge.
    fn with_size_warning(self) -> Self {
        let size = RecordSize { key: self.key.len(), value: self.value.len(), ..RecordSize::default() };
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

    /// The record's key, `workflow_id/workflow_run_id`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The event in JSON, UTF-8, on one line.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The W3C trace context.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    pub(super) fn headers(&self) -> OwnedHeaders {
        let headers = OwnedHeaders::new_with_capacity(4)
            .insert(Header { key: "event_id", value: Some(&*self.event_id) })
            .insert(Header { key: "event_type", value: Some(&*self.event_type) })
            .insert(Header { key: "content-type", value: Some("application/json") });
        match &self.traceparent {
            Some(traceparent) => headers.insert(Header { key: "traceparent", value: Some(&**traceparent) }),
            None => headers,
        }
    }
}
