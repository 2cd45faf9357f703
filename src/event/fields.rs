//! Reads the fields of a JSON object. Every error names the field.

use std::borrow::Cow;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Map, Value};

use super::poison::Poison;

/// Whether a field is present; `null` counts as absent.
pub(super) fn has(fields: &Map<String, Value>, field: &str) -> bool {
    fields.get(field).is_some_and(|value| !value.is_null())
}

/// Takes a required string.
pub(super) fn text(fields: &mut Map<String, Value>, field: &'static str) -> Result<String, Poison> {
    match fields.shift_remove(field) {
        None | Some(Value::Null) => Err(Poison::MissingField { field }),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(Poison::WrongType { field, expected: "a string", found: json_type(&other) }),
    }
}

/// Takes a required string that is not blank.
pub(super) fn non_empty(fields: &mut Map<String, Value>, field: &'static str) -> Result<String, Poison> {
    let text = text(fields, field)?;
    if text.trim().is_empty() {
        return Err(empty(field));
    }
    Ok(text)
}

/// Reads an optional string, which must not be blank. `name` is its name in messages.
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

/// Takes an optional object.
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

/// The text of a time, cut after nine fractional digits.
fn nanoseconds(text: &str) -> Cow<'_, str> {
    let Some((_, fraction)) = text.split_once('.') else { return text.into() };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits <= 9 {
        return text.into();
    }
    let start = text.len() - fraction.len();
    format!("{}{}", &text[..start + 9], &text[start + digits..]).into()
}

/// The beginning of a text, for messages.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The JSON type of a value, with its article, for messages.
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
