//! A tree of values with the position of each key and value.

use serde_json::{Map, Number, Value};

use super::{Position, quoted};

/// A value and its position.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Its position.
    pub at: Option<Position>,
    /// The value.
    pub data: Data,
}

/// The types of JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number that JSON can hold.
    Number(Number),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The key.
    pub key: String,
    /// The position of the key.
    pub at: Option<Position>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value, for a message.
    pub(crate) fn found(&self) -> String {
        match &self.data {
            Data::Null => "null".into(),
            Data::Bool(value) => value.to_string(),
            Data::Number(value) => format!("the number {value}"),
            Data::Text(text) => format!("the string {}", quoted(text)),
            Data::List(items) if items.is_empty() => "an empty list".into(),
            Data::List(_) => "a list".into(),
            Data::Map(entries) if entries.is_empty() => "an empty map".into(),
            Data::Map(_) => "a map".into(),
        }
    }

    /// The type of the value, for a message that must not show it.
    pub(crate) fn found_type(&self) -> &'static str {
        match &self.data {
            Data::Null => "null",
            Data::Bool(_) => "a boolean",
            Data::Number(_) => "a number",
            Data::Text(_) => "a string",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }

    /// The string, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// The value as JSON, without positions.
    pub(crate) fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Number(value) => Value::Number(value.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => items.iter().map(Node::to_json).collect(),
            Data::Map(entries) => {
                let fields: Map<_, _> = entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect();
                Value::Object(fields)
            }
        }
    }
}

#[cfg(test)]
mod json;
