//! Reads a JSON text as a document: whole, or not at all; `asked` reads some fields of it.
//!
//! Invariant: the three accept the same texts, and a name is only a name. `serde_json`'s own reader of a `Value` treats an
//! object with a certain name in it, which it uses inside, as JSON within a string: the memory of that is not measured, and
//! its nesting counts from the beginning. It cannot be switched off once a dependency asks for that feature.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Fields of a document by their paths. A path goes through arrays, as in patterns.
#[derive(Debug, Default)]
pub(crate) struct FieldSet {
    /// The value at this place is asked for, and not only fields inside.
    pub(super) has_value: bool,
    fields: BTreeMap<Box<str>, Self>,
    /// Which names of [`ENVELOPE`] are asked for, a bit for each: most are not, and need not be looked up.
    envelope: u8,
}

/// The names at the top of a native event, in order.
pub(super) const ENVELOPE: [&str; 8] =
    ["event_id", "event_type", "metadata", "payload", "source", "timestamp", "workflow_id", "workflow_run_id"];

/// Up to so many names are compared one after the other: most differ in their length, which costs no look at the texts.
const FEW: usize = 16;

impl FieldSet {
    /// Asks for the value at a path.
    #[cfg(feature = "service")]
    pub(crate) fn add(&mut self, path: &[&str]) {
        match path {
            [] => self.has_value = true,
            [name, rest @ ..] => {
                self.envelope |= ENVELOPE.iter().position(|known| known == name).map_or(0, |at| 1 << at);
                self.fields.entry((*name).into()).or_default().add(rest);
            }
        }
    }

    /// Nothing.
    pub(super) const fn new() -> Self {
        Self { has_value: false, fields: BTreeMap::new(), envelope: 0 }
    }

    /// What is asked for of a native event's own fields, by name.
    pub(super) fn of_envelope(&self) -> impl Iterator<Item = (&str, &Self)> {
        let asked = ENVELOPE.into_iter().enumerate().filter(|(at, _)| self.envelope & (1 << at) != 0);
        asked.filter_map(|(_, name)| self.named(name))
    }

    /// What is asked for of a field, with the field's name.
    pub(super) fn named(&self, name: &str) -> Option<(&str, &Self)> {
        let found = if self.fields.len() <= FEW {
            self.fields.iter().find(|(own, _)| own.as_ref() == name)
        } else {
            self.fields.get_key_value(name)
        };
        found.map(|(name, inside)| (&**name, inside))
    }

    /// What is left of a document, by definition.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of(&self, document: &Value) -> Value {
        match document {
            Value::Array(items) => items.iter().map(|item| self.of(item)).collect(),
            Value::Object(object) => Value::Object(
                object
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), self.fields.get(name.as_str())?.of(value))))
                    .collect(),
            ),
            Value::String(_) if !self.has_value => Value::String(String::new()),
            other => other.clone(),
        }
    }
}

/// A string, borrowed from the input if it has no escapes.
pub(super) struct Text<'de>(pub(super) Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Builds a whole value.
#[derive(Clone, Copy)]
pub(super) struct Whole;

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // The parser has refused what is not finite.
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(Text(name)) = map.next_key()? {
            let value = map.next_value_seed(self)?;
            object.insert(name.into_owned(), value);
        }
        Ok(Value::Object(object))
    }
}

/// Reads a value as the decoder would, and builds nothing. serde's own `IgnoredAny` accepts numbers and escapes that the
/// decoder refuses.
#[derive(Clone, Copy)]
pub(super) struct Skipped;

impl<'de> DeserializeSeed<'de> for Skipped {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skipped {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(self)?.is_some() {
            map.next_value_seed(self)?;
        }
        Ok(())
    }
}
