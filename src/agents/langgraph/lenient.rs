//! Readers that take any JSON value, and keep little of it.
//!
//! Servers differ in what a field holds. A value of another type than expected is skipped by the parser and
//! never becomes a value in memory.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use uuid::Uuid;

/// The longest id that is read, in bytes. A longer one is ignored.
pub(super) const MAX_ID: usize = 256;

/// A string of at most [`MAX_ID`] bytes; any other value is skipped and reads as `None`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Short(pub(super) Option<String>);

/// An object with the fields of `T`; any other value is skipped and reads as `None`.
#[derive(Debug, Clone)]
pub(super) struct Object<T>(pub(super) Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// Reads any value: a `T` from a string or an object if possible, and the default from anything else.
struct Lenient<T>(PhantomData<T>);

trait FromAny: Sized + Default {
    fn from_text(_: &str) -> Self {
        Self::default()
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Self::default())
    }
}

impl FromAny for Short {
    fn from_text(text: &str) -> Self {
        Self((text.len() <= MAX_ID && !text.is_empty()).then(|| text.to_owned()))
    }
}

impl<T: for<'de> Deserialize<'de>> FromAny for Object<T> {
    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|object| Self(Some(object)))
    }
}

impl<'de, T: FromAny> Visitor<'de> for Lenient<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::from_text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        IgnoredAny.visit_seq(items).map(|_| T::default())
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }
}

impl<'de> Deserialize<'de> for Short {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Lenient(PhantomData))
    }
}

impl<'de, T: for<'a> Deserialize<'a>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Lenient(PhantomData))
    }
}

impl Short {
    pub(super) fn uuid(&self) -> Option<Uuid> {
        self.0.as_ref().and_then(|text| text.parse().ok())
    }
}

/// A string of any length: the limit of the body bounds it. Any other value reads as `None`.
#[derive(Debug, Default)]
pub(super) struct Text(pub(super) Option<String>);

impl FromAny for Text {
    fn from_text(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Lenient(PhantomData))
    }
}
