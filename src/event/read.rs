//! Reading JSON field by field, each mistake with the field's name.

use std::borrow::Cow;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Map, Value};

use super::{
    Poison, hints,
    limits::{Limits, TextError},
};

/// How many levels of objects and arrays a JSON text may have, as the parser counts.
const MAX_DEPTH: usize = 127;

/// What some publishers write before the text: it says that UTF-8 follows, and is no part of it.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A record's value as one JSON object.
pub(super) fn object(bytes: &[u8], limits: &Limits) -> Result<Map<String, Value>, Poison> {
    if let Some(poison) = hints::framing(bytes) {
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

/// A text as JSON, unless it would take too much memory. The one place where a record is parsed.
pub(super) fn json(text: &[u8], limits: &Limits) -> Result<Value, TextError> {
    limits.check_text(text)?;
    serde_json::from_slice(text).map_err(TextError::NotJson)
}

/// Whether a field is there; `null` is as good as absent.
pub(super) fn has(fields: &Map<String, Value>, field: &str) -> bool {
    fields.get(field).is_some_and(|value| !value.is_null())
}

/// Takes a text that has to be there.
pub(super) fn text(fields: &mut Map<String, Value>, field: &'static str) -> Result<String, Poison> {
    match fields.shift_remove(field) {
        None | Some(Value::Null) => Err(Poison::MissingField { field }),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(Poison::WrongType { field, expected: "a string", found: json_type(&other) }),
    }
}

/// Takes a text that has to be there and to say something.
pub(super) fn non_empty(fields: &mut Map<String, Value>, field: &'static str) -> Result<String, Poison> {
    let text = text(fields, field)?;
    if text.trim().is_empty() {
        return Err(empty(field));
    }
    Ok(text)
}

/// Looks at a text that may be absent, but says something if it is there. `name` is what messages call it.
pub(super) fn optional<'f>(
    fields: &'f Map<String, Value>,
    field: &str,
    name: &'static str,
) -> Result<Option<&'f str>, Poison> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Err(empty(name)),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Poison::WrongType { field: name, expected: "a string", found: json_type(other) }),
    }
}

fn empty(field: &'static str) -> Poison {
    Poison::InvalidValue { field, reason: "is empty".into() }
}

/// Takes an object that may be absent.
pub(super) fn section(
    fields: &mut Map<String, Value>,
    field: &'static str,
) -> Result<Option<Map<String, Value>>, Poison> {
    match fields.shift_remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(section)) => Ok(Some(section)),
        Some(other) => Err(Poison::WrongType { field, expected: "an object", found: json_type(&other) }),
    }
}

/// A time; one without an offset is UTC. RFC 3339 allows any number of fractional digits; nine are kept.
pub(super) fn time(text: &str, field: &'static str) -> Result<Timestamp, Poison> {
    let given = text;
    let text = &*nanoseconds(text);
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    text.parse::<DateTime>().and_then(|naive| naive.to_zoned(TimeZone::UTC)).map(|zoned| zoned.timestamp()).map_err(
        |_| Poison::InvalidValue {
            field,
            reason: format!("expected RFC 3339 such as 2026-01-31T12:00:00Z, found {:?}", excerpt(given)),
        },
    )
}

/// A time without the fractional digits beyond the ninth.
fn nanoseconds(text: &str) -> Cow<'_, str> {
    let Some((_, fraction)) = text.split_once('.') else { return text.into() };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits <= 9 {
        return text.into();
    }
    let start = text.len() - fraction.len();
    format!("{}{}", &text[..start + 9], &text[start + digits..]).into()
}

/// The beginning of a text, for a message.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Refuses a document that was put together deeper than it could be read again.
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

pub(super) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
