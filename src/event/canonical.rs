//! An event that is in the canonical spelling already: checked as strictly as it is decoded, and left as it is.
//!
//! Owns the promise that what passes here decodes to the same event. It builds nothing, which is what
//! a publisher of many events needs; anything unusual is `None`, and the decoder's to judge.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};

use super::{EventType, Source, native::check_event_id};

/// What a publisher needs to know of an event.
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
    /// Reads a record's value, if it is a complete native event on one line, with the names of type and
    /// source in the canonical spelling, a time in UTC, and every field once.
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

/// A text, borrowed from the input where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Default)]
struct Fields<'a> {
    texts: [Option<Text<'a>>; 6],
    sections: [Option<Shape>; 2],
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WalkFields)
    }
}

struct WalkFields;

impl<'de> Visitor<'de> for WalkFields {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        let twice = || A::Error::custom("a field is there twice");
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
                // Unknown, and kept; it is checked like the rest.
                map.next_value::<Shape>()?;
            }
        }
        Ok(fields)
    }
}

/// A value of any depth and kind that the decoder would take, of which only the kind is kept.
enum Shape {
    Object,
    Other,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

/// Goes through a whole value, so that its depth and its numbers are checked.
struct Walk;

impl<'de> Visitor<'de> for Walk {
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
