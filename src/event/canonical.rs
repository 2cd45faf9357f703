//! Recognizes a value that is already in the canonical form, without building an event.
//!
//! Invariant: a value that passes decodes to the same event. The check allocates next to nothing,
//! which matters to a publisher of many events. Anything unusual is `None` and goes to the decoder.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};

use super::{
    names::{EventType, Source},
    native::check_event_id,
};

/// The fields of an event that a publisher needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Canonical<'a> {
    /// The event's id.
    pub event_id: Cow<'a, str>,
    /// Its type, in the canonical spelling.
    pub event_type: Cow<'a, str>,
    /// The workflow.
    pub workflow_id: Cow<'a, str>,
    /// The run of the workflow.
    pub workflow_run_id: Cow<'a, str>,
}

impl<'a> Canonical<'a> {
    /// Reads a record's value if it is a complete native event on one line: type and source in the
    /// canonical spelling, the time in UTC, no field twice.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        if value.contains(&b'\n') {
            return None;
        }
        let Fields { texts, sections } = serde_json::from_slice(value).ok()?;
        let [
            Some(Text(event_id)),
            Some(Text(event_type)),
            Some(Text(timestamp)),
            Some(Text(source)),
            Some(Text(workflow_id)),
            Some(Text(workflow_run_id)),
        ] = texts
        else {
            return None;
        };
        let [Some(Shape::Object), Some(Shape::Object)] = sections else { return None };
        let named = |names: &[&str], name: &str| names.contains(&name);
        let sound = check_event_id(&event_id).is_ok()
            && named(EventType::NAMES, &event_type)
            && named(Source::NAMES, &source)
            && timestamp.ends_with('Z')
            && timestamp.parse::<Timestamp>().is_ok()
            && !workflow_id.trim().is_empty()
            && !workflow_run_id.trim().is_empty();
        sound.then_some(Self { event_id, event_type, workflow_id, workflow_run_id })
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    EventId,
    EventType,
    Timestamp,
    Source,
    WorkflowId,
    WorkflowRunId,
    Payload,
    Metadata,
    #[serde(other)]
    Other,
}

/// A string, borrowed from the input if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Default)]
struct Fields<'a> {
    texts: [Option<Text<'a>>; 6],
    sections: [Option<Shape>; 2],
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        let twice = || A::Error::custom("duplicate field");
        while let Some(field) = map.next_key::<Field>()? {
            let (text, section) = match field {
                Field::EventId => (Some(0), None),
                Field::EventType => (Some(1), None),
                Field::Timestamp => (Some(2), None),
                Field::Source => (Some(3), None),
                Field::WorkflowId => (Some(4), None),
                Field::WorkflowRunId => (Some(5), None),
                Field::Payload => (None, Some(0)),
                Field::Metadata => (None, Some(1)),
                Field::Other => (None, None),
            };
            if let Some(slot) = text.and_then(|at: usize| fields.texts.get_mut(at)) {
                if slot.replace(map.next_value()?).is_some() {
                    return Err(twice());
                }
            } else if let Some(slot) = section.and_then(|at: usize| fields.sections.get_mut(at)) {
                if slot.replace(map.next_value()?).is_some() {
                    return Err(twice());
                }
            } else {
                // Unknown fields are kept by the decoder, and checked here like the others.
                map.next_value::<Shape>()?;
            }
        }
        Ok(fields)
    }
}

/// Any value that the decoder accepts; only whether it is an object is kept.
enum Shape {
    Object,
    Other,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

/// Visits a whole value, so that its depth and its numbers are checked.
struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        while seq.next_element::<Shape>()?.is_some() {}
        Ok(Shape::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        while map.next_entry::<Shape, Shape>()?.is_some() {}
        Ok(Shape::Object)
    }
}
