//! Parses a record's value as JSON, within the limits.

use serde::de::DeserializeSeed as _;
use serde_json::{Map, Value};

use super::{
    document::Whole,
    hints,
    limits::{Limits, TextError},
    poison::Poison,
};

/// The most levels of objects and arrays in a JSON text, as the parser counts.
const MAX_DEPTH: usize = 127;

/// The mark that some publishers write before the text. It is skipped.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Parses a record's value as one JSON object.
pub(super) fn object(bytes: &[u8], limits: &Limits) -> Result<Map<String, Value>, Poison> {
    if let Some(poison) = hints::schema_registry_frame(bytes) {
        return Err(poison);
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let position = error.valid_up_to();
        Poison::NotUtf8 { position, byte: bytes.get(position).copied().unwrap_or_default() }
    })?;
    if text.trim().is_empty() {
        return Err(Poison::Empty);
    }
    match json(bytes, limits) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(hints::not_an_object(&other)),
        Err(TextError::NotJson(error)) => Err(hints::not_json(bytes, &error)),
        Err(TextError::TooLarge(poison)) => Err(poison),
    }
}

/// Parses a text as JSON unless that would take too much memory. Every record is parsed here.
pub(super) fn json(text: &[u8], limits: &Limits) -> Result<Value, TextError> {
    limits.check_text(text)?;
    let mut reader = serde_json::Deserializer::from_slice(text);
    let document = Whole.deserialize(&mut reader).and_then(|document| reader.end().map(|()| document));
    document.map_err(TextError::NotJson)
}

/// Refuses a document that is nested too deep to be parsed again.
pub(super) fn check_depth(fields: &Map<String, Value>) -> Result<(), Poison> {
    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
            _ => 0,
        }
    }
    let found = 1 + fields.values().map(depth).max().unwrap_or_default();
    if found > MAX_DEPTH {
        let reason = format!("as an event it has {found} levels of nesting, at most {MAX_DEPTH} are allowed");
        return Err(Poison::NotJson { reason });
    }
    Ok(())
}
