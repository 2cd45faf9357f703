//! Reads only what is asked for of an event: its envelope, and the fields that patterns name.
//!
//! Most records match no rule, or go to their agents as they were published: nothing else is needed of those. One pass over the
//! record validates it as the decoder does and builds nothing but the fields of a [`FieldSet`] and the trace of the metadata.
//!
//! Invariant: what is projected decodes too, to an event with the same envelope, and no pattern that reads only those
//! fields tells the two documents apart. Anything unusual is `None` and goes to the decoder: other dialects, and everything
//! that is poison.

use std::{borrow::Cow, fmt};

#[cfg(feature = "consume")]
use bytes::Bytes;
use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    cloudevents,
    document::{FieldSet, Part, Skipped, Text},
    fields::time,
    lazy::{TRACE, Trace},
    limits::Limits,
    names::{EventType, Source},
    native::check_event_id,
    parse::BYTE_ORDER_MARK,
    raw::Raw,
};
#[cfg(feature = "consume")]
use super::{dialect::Dialect, lazy::Document, model::Event};

/// An event of which only some fields were read.
#[derive(Debug)]
pub(crate) struct Projected {
    id: Box<str>,
    event_type: EventType,
    source: Source,
    timestamp: Timestamp,
    workflow_id: Box<str>,
    workflow_run_id: Box<str>,
    trace: Trace<Box<str>>,
    document: Value,
}

impl Projected {
    /// The event's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What happened to the workflow.
    pub(crate) fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// The workflow.
    pub(crate) fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// The run of the workflow.
    pub(crate) fn workflow_run_id(&self) -> &str {
        &self.workflow_run_id
    }

    /// The fields that were asked for, where the event has them. Others are missing, or an empty text.
    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// The event, whose document is decoded when somebody asks for it. `text` is the record's value without a byte order
    /// mark.
    #[cfg(feature = "consume")]
    pub(crate) fn into_event(self, text: Bytes) -> Event {
        Event {
            id: self.id,
            event_type: self.event_type,
            source: self.source,
            timestamp: self.timestamp,
            workflow_id: self.workflow_id,
            workflow_run_id: self.workflow_run_id,
            document: Document::of_text(text, self.trace),
            dialect: Dialect::Native,
        }
    }
}

impl Limits {
    /// Reads these fields of a native event. `None` says nothing about the record: it is to be decoded.
    /// [`check`](Self::check) comes first.
    pub(crate) fn project(&self, record: &Raw<'_>, fields: &FieldSet) -> Option<Projected> {
        if !is_plain(record) {
            return None;
        }
        let bytes = record.value?;
        let text = std::str::from_utf8(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)).ok()?;
        self.check_text(text.as_bytes()).ok()?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let envelope = reader.deserialize_any(EnvelopeVisitor { fields }).ok()?;
        reader.end().ok()?;
        envelope.project(fields)
    }
}

/// Whether no header says that it is a CloudEvent.
fn is_plain(record: &Raw<'_>) -> bool {
    let content_type = record.header("content-type").map(cloudevents::unquoted);
    matches!(cloudevents::is_declared(content_type.as_deref()), Ok(false))
        && !record.headers.iter().any(|(name, _)| cloudevents::is_attribute(name))
}

/// The names of the texts of the envelope, in the order of [`Envelope::texts`].
const TEXTS: [&str; 6] = ["event_id", "event_type", "timestamp", "source", "workflow_id", "workflow_run_id"];
/// The names of its objects.
const PAYLOAD: &str = "payload";
const METADATA: &str = "metadata";

/// The top level of a native event. The last field of a name counts.
#[derive(Default)]
struct Envelope<'de> {
    texts: [Option<Cow<'de, str>>; 6],
    payload: Option<Map<String, Value>>,
    metadata: Option<Map<String, Value>>,
    /// The trace in the metadata.
    trace: Option<Trace<Box<str>>>,
    others: Map<String, Value>,
}

impl Envelope<'_> {
    fn project(self, fields: &FieldSet) -> Option<Projected> {
        let [id, event_type, timestamp, source, workflow_id, workflow_run_id] = self.texts;
        let id = id?;
        check_event_id(&id).ok()?;
        let non_empty = |text: Option<_>| text.filter(|text: &Cow<'_, str>| !text.trim().is_empty());
        let event_type = EventType::read(&non_empty(event_type)?);
        let timestamp = time(&timestamp?, "timestamp").ok()?;
        let source = Source::read(&non_empty(source)?);
        let (workflow_id, workflow_run_id) = (non_empty(workflow_id)?, non_empty(workflow_run_id)?);

        let mut document = self.others;
        let mut insert = |name: &str, value: &dyn Fn() -> Value| {
            if let Some(asked) = fields.get(name) {
                let value = if asked.has_value { value() } else { Value::String(String::new()) };
                document.insert(name.to_owned(), value);
            }
        };
        insert("event_id", &|| id.as_ref().into());
        insert("event_type", &|| event_type.as_str().into());
        insert("timestamp", &|| timestamp.to_string().into());
        insert("source", &|| source.as_str().into());
        insert("workflow_id", &|| workflow_id.as_ref().into());
        insert("workflow_run_id", &|| workflow_run_id.as_ref().into());
        if let Some(asked) = fields.get(PAYLOAD) {
            let payload = self.payload.unwrap_or_else(|| {
                let data = asked.get("data").is_some().then(|| ("data".to_owned(), Value::Object(Map::new())));
                data.into_iter().collect()
            });
            document.insert(PAYLOAD.to_owned(), Value::Object(payload));
        }
        if fields.get(METADATA).is_some() {
            document.insert(METADATA.to_owned(), Value::Object(self.metadata.unwrap_or_default()));
        }
        Some(Projected {
            id: id.into(),
            event_type,
            source,
            timestamp,
            workflow_id: workflow_id.into(),
            workflow_run_id: workflow_run_id.into(),
            trace: self.trace.unwrap_or_default(),
            document: Value::Object(document),
        })
    }
}

struct EnvelopeVisitor<'f> {
    fields: &'f FieldSet,
}

impl<'de> Visitor<'de> for EnvelopeVisitor<'_> {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a native event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let nothing = FieldSet::default();
        let mut envelope = Envelope::default();
        while let Some(Text(name)) = map.next_key()? {
            let asked = self.fields.get(&name);
            if let Some(at) = TEXTS.iter().position(|text| *text == name) {
                envelope.texts[at] = map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| text);
            } else if name == PAYLOAD {
                envelope.payload = match map.next_value_seed(Part(Some(asked.unwrap_or(&nothing))))? {
                    Value::Null => None,
                    Value::Object(payload) => Some(payload),
                    _ => return Err(A::Error::custom("not an object")),
                };
            } else if name == METADATA {
                let metadata = map.next_value_seed(Metadata { fields: asked.unwrap_or(&nothing) })?;
                (envelope.metadata, envelope.trace) = metadata.unzip();
            } else if let Some(asked) = asked {
                let value = map.next_value_seed(Part(Some(asked)))?;
                envelope.others.insert(name.into_owned(), value);
            } else {
                map.next_value_seed(Skipped)?;
            }
        }
        Ok(envelope)
    }
}

/// Reads the metadata: the fields that are asked for, and the trace. `None` is `null`.
struct Metadata<'f> {
    fields: &'f FieldSet,
}

impl<'de> DeserializeSeed<'de> for Metadata<'_> {
    type Value = Option<(Map<String, Value>, Trace<Box<str>>)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_> {
    type Value = Option<(Map<String, Value>, Trace<Box<str>>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut metadata, mut trace) = (Map::new(), Trace::default());
        while let Some(Text(name)) = map.next_key()? {
            let asked = self.fields.get(&name);
            if let Some(at) = TRACE.iter().position(|text| *text == name) {
                let value = map.next_value_seed(Part(None))?;
                trace[at] = value.as_str().map(Into::into);
                if let Some(asked) = asked {
                    metadata.insert(name.into_owned(), asked.of(&value));
                }
            } else if let Some(asked) = asked {
                let value = map.next_value_seed(Part(Some(asked)))?;
                metadata.insert(name.into_owned(), value);
            } else {
                map.next_value_seed(Skipped)?;
            }
        }
        Ok(Some((metadata, trace)))
    }
}
