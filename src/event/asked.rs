//! The fields of a document that are asked for, read from its text: most texts in it are those of the record.

use std::{borrow::Cow, fmt, mem};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use super::{
    document::{FieldSet, Skipped, Text},
    tree::{Scalar, Shape, Tree},
};

/// A value of which only some fields were read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Object(AskedFields<'a>),
}

/// The fields of an object, by name, each name once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct AskedFields<'a>(Vec<(&'a str, Asked<'a>)>);

impl<'a> AskedFields<'a> {
    /// These fields, of which the last one of a name counts.
    pub(super) fn new(mut fields: Vec<(&'a str, Asked<'a>)>) -> Self {
        if !fields.is_sorted_by(|(a, _), (b, _)| a < b) {
            fields.sort_by_key(|(name, _)| *name);
            fields.dedup_by(|later, kept| {
                let is_same = later.0 == kept.0;
                if is_same {
                    mem::swap(later, kept);
                }
                is_same
            });
        }
        Self(fields)
    }
}

impl Asked<'_> {
    /// The same of a value that was read as a whole; `fields` has the names.
    pub(super) fn of<'f>(fields: &'f FieldSet, value: &Value) -> Asked<'f> {
        match value {
            Value::Null => Asked::Null,
            Value::Bool(value) => Asked::Bool(*value),
            Value::Number(number) => Asked::Number(number.clone()),
            Value::String(text) => Asked::Text(if fields.has_value { text.clone().into() } else { Cow::default() }),
            Value::Array(items) => Asked::List(items.iter().map(|item| Asked::of(fields, item)).collect()),
            Value::Object(object) => {
                let asked = object.iter().filter_map(|(name, value)| {
                    let (name, inside) = fields.named(name)?;
                    Some((name, Asked::of(inside, value)))
                });
                Asked::Object(AskedFields::new(asked.collect()))
            }
        }
    }

    /// The same as a document.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone().into_owned()),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(AskedFields(fields)) => {
                assert!(fields.is_sorted_by(|(a, _), (b, _)| a < b), "each name once, in order: {fields:?}");
                fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_value())).collect()
            }
        }
    }
}

impl Tree for Asked<'_> {
    fn shape(&self) -> Shape<'_, Self> {
        Shape::Scalar(match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Number(number) => Scalar::Number(number),
            Self::Text(text) => Scalar::Text(text),
            Self::List(items) => return Shape::List(items),
            Self::Object(_) => return Shape::Object,
        })
    }

    fn field(&self, name: &str) -> Option<&Self> {
        let Self::Object(AskedFields(fields)) = self else { return None };
        let at = fields.binary_search_by(|(own, _)| (*own).cmp(name)).ok()?;
        fields.get(at).map(|(_, value)| value)
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &Self)> {
        let fields = match self {
            Self::Object(AskedFields(fields)) => fields.as_slice(),
            _ => &[],
        };
        fields.iter().map(|(name, value)| (*name, value))
    }

    fn field_count(&self) -> usize {
        match self {
            Self::Object(AskedFields(fields)) => fields.len(),
            _ => 0,
        }
    }
}

/// Reads the fields of a value that are asked for.
#[derive(Clone, Copy)]
pub(super) struct AskedOf<'f>(pub(super) &'f FieldSet);

impl<'a, 'de: 'a> DeserializeSeed<'de> for AskedOf<'a> {
    type Value = Asked<'a>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Asked<'a>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, 'de: 'a> Visitor<'de> for AskedOf<'a> {
    type Value = Asked<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Asked<'a>, E> {
        Ok(Asked::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Asked<'a>, E> {
        Ok(Asked::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Asked<'a>, E> {
        Ok(Asked::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Asked<'a>, E> {
        // The parser has refused what is not finite.
        Ok(Number::from_f64(value).map_or(Asked::Null, Asked::Number))
    }

    fn visit_unit<E>(self) -> Result<Asked<'a>, E> {
        Ok(Asked::Null)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Asked<'a>, E> {
        // One that nobody compares takes no memory.
        Ok(Asked::Text(Cow::Borrowed(if self.0.has_value { text } else { "" })))
    }

    fn visit_str<E>(self, text: &str) -> Result<Asked<'a>, E> {
        Ok(Asked::Text(if self.0.has_value { text.to_owned().into() } else { Cow::default() }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Asked<'a>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Asked::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Asked<'a>, A::Error> {
        let mut fields = Vec::new();
        while let Some(Text(name)) = map.next_key()? {
            match self.0.named(&name) {
                Some((name, inside)) => fields.push((name, map.next_value_seed(Self(inside))?)),
                None => map.next_value_seed(Skipped)?,
            }
        }
        Ok(Asked::Object(AskedFields::new(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_fields_of_a_name_the_last_one_counts() {
        let field = |name: &'static str, value: u64| (name, Asked::Number(value.into()));
        let fields = AskedFields::new(vec![field("b", 1), field("a", 2), field("b", 3), field("a", 4), field("c", 5)]);
        assert_eq!(fields.0, [field("a", 4), field("b", 3), field("c", 5)]);
    }
}
