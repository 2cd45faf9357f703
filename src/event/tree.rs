//! A JSON value as patterns see it, whoever holds it.

use serde_json::{Number, Value};

/// What a value is.
pub(crate) enum Shape<'a, T> {
    Scalar(Scalar<'a>),
    List(&'a [T]),
    Object,
}

/// A value that has no others inside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(&'a Number),
    Text(&'a str),
}

/// A JSON value.
pub(crate) trait Tree: Sized {
    fn shape(&self) -> Shape<'_, Self>;

    /// The field of an object; none of anything else.
    fn field(&self, name: &str) -> Option<&Self>;

    /// The fields of an object, each name once; none of anything else.
    fn fields(&self) -> impl Iterator<Item = (&str, &Self)>;

    /// How many fields there are.
    fn field_count(&self) -> usize;
}

impl Tree for Value {
    fn shape(&self) -> Shape<'_, Self> {
        Shape::Scalar(match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Number(number) => Scalar::Number(number),
            Self::String(text) => Scalar::Text(text),
            Self::Array(items) => return Shape::List(items),
            Self::Object(_) => return Shape::Object,
        })
    }

    fn field(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }

    fn field_count(&self) -> usize {
        self.as_object().map_or(0, serde_json::Map::len)
    }
}
