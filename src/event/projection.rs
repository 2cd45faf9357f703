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

use super::{
    asked::{Asked, AskedFields, AskedOf},
    cloudevents,
    document::{ENVELOPE, FieldSet, Skipped, Text, Whole},
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

/// An event of which only some fields were read. Its texts are borrowed from the record, but for those with escapes.
#[derive(Debug)]
pub(crate) struct Projected<'r> {
    id: Cow<'r, str>,
    event_type: EventType,
    source: Source,
    timestamp: Timestamp,
    workflow_id: Cow<'r, str>,
    workflow_run_id: Cow<'r, str>,
    trace: Trace<Box<str>>,
}

impl Projected<'_> {
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

    /// The event, whose document is decoded when somebody asks for it. `text` is the record's value without a byte order
    /// mark.
    #[cfg(feature = "consume")]
    pub(crate) fn into_event(self, text: Bytes) -> Event {
        Event {
            id: self.id.into(),
            event_type: self.event_type,
            source: self.source,
            timestamp: self.timestamp,
            workflow_id: self.workflow_id.into(),
            workflow_run_id: self.workflow_run_id.into(),
            document: Document::of_text(text, self.trace),
            dialect: Dialect::Native,
        }
    }
}

impl Limits {
    /// Reads a native event, and these fields of it, where it has them: others are missing, or an empty text. `None` says nothing
    /// about the record: it is to be decoded. [`check`](Self::check) comes first.
    pub(crate) fn project<'r: 'a, 'a>(
        &self,
        record: &Raw<'r>,
        fields: &'a FieldSet,
    ) -> Option<(Projected<'r>, Asked<'a>)> {
        if !is_plain(record) {
            return None;
        }
        let bytes = record.value?;
        let text = std::str::from_utf8(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)).ok()?;
        self.check_text(text.as_bytes()).ok()?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let mut envelope = Envelope::default();
        reader.deserialize_any(EnvelopeVisitor { fields, envelope: &mut envelope }).ok()?;
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

/// The texts of the envelope and their places in [`Envelope::texts`].
fn text_position(name: &str) -> Option<usize> {
    Some(match name {
        "event_id" => 0,
        "event_type" => 1,
        "timestamp" => 2,
        "source" => 3,
        "workflow_id" => 4,
        "workflow_run_id" => 5,
        _ => return None,
    })
}

/// The names of its objects.
const PAYLOAD: &str = "payload";
const METADATA: &str = "metadata";

/// What is asked for of an object that nobody asks for.
static NOTHING: FieldSet = FieldSet::new();

/// The top level of a native event. The last field of a name counts.
#[derive(Default)]
struct Envelope<'r, 'a> {
    texts: [Option<Cow<'r, str>>; 6],
    payload: Option<Asked<'a>>,
    metadata: Option<Asked<'a>>,
    /// The trace in the metadata.
    trace: Option<Trace<Box<str>>>,
    others: Vec<(&'a str, Asked<'a>)>,
}

impl<'r: 'a, 'a> Envelope<'r, 'a> {
    fn project(self, fields: &'a FieldSet) -> Option<(Projected<'r>, Asked<'a>)> {
        let [id, event_type, timestamp, source, workflow_id, workflow_run_id] = self.texts;
        let id = id?;
        check_event_id(&id).ok()?;
        let non_empty = |text: Option<_>| text.filter(|text: &Cow<'_, str>| !text.trim().is_empty());
        let type_text = non_empty(event_type)?;
        let event_type = EventType::read(&type_text);
        let timestamp = time(&timestamp?, "timestamp").ok()?;
        let source_text = non_empty(source)?;
        let source = Source::read(&source_text);
        let (workflow_id, workflow_run_id) = (non_empty(workflow_id)?, non_empty(workflow_run_id)?);
        let projected = Projected {
            id,
            workflow_id,
            workflow_run_id,
            trace: self.trace.unwrap_or_default(),
            event_type,
            source,
            timestamp,
        };

        let text = |asked: &FieldSet, text: &dyn Fn() -> Cow<'a, str>| {
            Asked::Text(if asked.has_value { text() } else { Cow::default() })
        };
        let (mut payload, mut metadata) = (self.payload, self.metadata);
        // In the order of the names, so that mostly nothing has to be sorted.
        let mut document = Vec::with_capacity(ENVELOPE.len() + self.others.len());
        for (name, asked) in fields.of_envelope() {
            let value = match name {
                "event_id" => text(asked, &|| projected.id.clone()),
                "event_type" => text(asked, &|| canonical(&type_text, projected.event_type.as_str())),
                METADATA => metadata.take().unwrap_or_else(|| Asked::Object(AskedFields::default())),
                PAYLOAD => payload.take().unwrap_or_else(|| no_payload(asked)),
                "source" => text(asked, &|| canonical(&source_text, projected.source.as_str())),
                "timestamp" => text(asked, &|| timestamp.to_string().into()),
                "workflow_id" => text(asked, &|| projected.workflow_id.clone()),
                "workflow_run_id" => text(asked, &|| projected.workflow_run_id.clone()),
                // Every name of the envelope is above.
                _ => continue,
            };
            document.push((name, value));
        }
        document.extend(self.others);
        Some((projected, Asked::Object(AskedFields::new(document))))
    }
}

/// The canonical spelling of a name: mostly the one that was published.
fn canonical<'a>(published: &Cow<'a, str>, canonical: &str) -> Cow<'a, str> {
    if published == canonical { published.clone() } else { canonical.to_owned().into() }
}

/// The payload of an event without one.
fn no_payload(asked: &FieldSet) -> Asked<'_> {
    let data = asked.named("data").map(|(name, _)| (name, Asked::Object(AskedFields::default())));
    Asked::Object(AskedFields::new(data.into_iter().collect()))
}

/// Writes into an envelope, which is too large to be handed up through the parser.
struct EnvelopeVisitor<'e, 'r, 'f> {
    fields: &'f FieldSet,
    envelope: &'e mut Envelope<'r, 'f>,
}

impl<'r: 'f, 'f> Visitor<'r> for EnvelopeVisitor<'_, 'r, 'f> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a native event")
    }

    fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { fields, envelope } = self;
        while let Some(Text(name)) = map.next_key()? {
            if let Some(at) = text_position(&name) {
                envelope.texts[at] = map.next_value::<Option<Text<'r>>>()?.map(|Text(text)| text);
                continue;
            }
            let asked = fields.named(&name);
            match (&*name, asked) {
                (PAYLOAD, asked) => {
                    envelope.payload =
                        match map.next_value_seed(AskedOf(asked.map_or(&NOTHING, |(_, inside)| inside)))? {
                            Asked::Null => None,
                            payload @ Asked::Object(_) => Some(payload),
                            _ => return Err(A::Error::custom("not an object")),
                        };
                }
                (METADATA, asked) => {
                    let fields = asked.map_or(&NOTHING, |(_, inside)| inside);
                    (envelope.metadata, envelope.trace) = map.next_value_seed(Metadata { fields })?.unzip();
                }
                (_, Some((name, inside))) => envelope.others.push((name, map.next_value_seed(AskedOf(inside))?)),
                (_, None) => map.next_value_seed(Skipped)?,
            }
        }
        Ok(())
    }
}

/// Reads the metadata: the fields that are asked for, and the trace. `None` is `null`.
struct Metadata<'f> {
    fields: &'f FieldSet,
}

impl<'a, 'de: 'a> DeserializeSeed<'de> for Metadata<'a> {
    type Value = Option<(Asked<'a>, Trace<Box<str>>)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, 'de: 'a> Visitor<'de> for Metadata<'a> {
    type Value = Option<(Asked<'a>, Trace<Box<str>>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut metadata, mut trace) = (Vec::new(), Trace::default());
        while let Some(Text(name)) = map.next_key()? {
            let asked = self.fields.named(&name);
            if let Some(at) = TRACE.iter().position(|text| *text == name) {
                let value = map.next_value_seed(Whole)?;
                trace[at] = value.as_str().map(Into::into);
                metadata.extend(asked.map(|(name, inside)| (name, Asked::of(inside, &value))));
            } else if let Some((name, inside)) = asked {
                metadata.push((name, map.next_value_seed(AskedOf(inside))?));
            } else {
                map.next_value_seed(Skipped)?;
            }
        }
        Ok(Some((Asked::Object(AskedFields::new(metadata)), trace)))
    }
}
