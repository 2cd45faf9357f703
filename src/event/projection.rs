//! Reads only what is asked for of an event: its envelope, and the fields that patterns name.
//!
//! Most records match no rule, and of those nothing else is needed. One pass over the record validates it as the decoder
//! does and builds nothing but the fields of a [`FieldSet`].
//!
//! Invariant: what is projected decodes too, to an event with the same envelope, and no pattern that reads only those
//! fields tells the two documents apart. Anything unusual is `None` and goes to the decoder: other dialects, and everything
//! that is poison.

use std::{borrow::Cow, fmt};

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    cloudevents,
    document::{FieldSet, Part, Skipped, Text},
    fields::time,
    limits::Limits,
    names::{EventType, Source},
    native::check_event_id,
    parse::BYTE_ORDER_MARK,
    raw::Raw,
};

/// An event of which only some fields were read.
#[derive(Debug)]
pub(crate) struct Projected {
    id: String,
    event_type: EventType,
    workflow_id: String,
    workflow_run_id: String,
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
/// The names of its objects, in the order of [`Envelope::sections`].
const SECTIONS: [&str; 2] = ["payload", "metadata"];

/// The top level of a native event. The last field of a name counts.
#[derive(Default)]
struct Envelope<'de> {
    texts: [Option<Cow<'de, str>>; 6],
    sections: [Option<Value>; 2],
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
        let [payload, metadata] = self.sections;

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
        for (name, section) in SECTIONS.into_iter().zip([payload, metadata]) {
            let Some(asked) = fields.get(name) else { continue };
            let section = section.unwrap_or_else(|| {
                let data = (name == "payload" && asked.get("data").is_some())
                    .then(|| ("data".to_owned(), Value::Object(Map::new())));
                Value::Object(data.into_iter().collect())
            });
            document.insert(name.to_owned(), section);
        }
        Some(Projected {
            id: id.into_owned(),
            event_type,
            workflow_id: workflow_id.into_owned(),
            workflow_run_id: workflow_run_id.into_owned(),
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
            } else if let Some(at) = SECTIONS.iter().position(|section| *section == name) {
                envelope.sections[at] = match map.next_value_seed(Part(Some(asked.unwrap_or(&nothing))))? {
                    Value::Null => None,
                    Value::Object(section) => Some(Value::Object(section)),
                    _ => return Err(A::Error::custom("not an object")),
                };
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
