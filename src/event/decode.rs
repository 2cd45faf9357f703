//! Bytes to an event: read liberally, refuse with a reason.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Map, Value};

use super::{Event, EventType, MAX_EVENT_ID_BYTES, Poison, Source};

/// Reads a record's value as an event in the native dialect.
///
/// Any case of the enum names and `workflow.completed` are understood, an unknown type or source is
/// kept, a time without an offset is UTC, and unknown fields stay in the document. An absent
/// `payload` reads as `{"data": {}}` and an absent `metadata` as `{}`.
///
/// # Errors
/// [`Poison`] says what the record is instead of an event. Nesting deeper than 128 levels and a
/// number outside the range of f64 are refused as not JSON.
pub fn decode(value: Option<&[u8]>) -> Result<Event, Poison> {
    let mut fields = object(value.ok_or(Poison::Tombstone)?)?;

    let id = text(&mut fields, "event_id")?;
    check_event_id(&id)?;
    let event_type = EventType::read(&non_empty(&mut fields, "event_type")?);
    let timestamp = time(&text(&mut fields, "timestamp")?)?;
    let source = Source::read(&non_empty(&mut fields, "source")?);
    let workflow_id = non_empty(&mut fields, "workflow_id")?;
    let workflow_run_id = non_empty(&mut fields, "workflow_run_id")?;
    let payload = section(&mut fields, "payload")?
        .unwrap_or_else(|| Map::from_iter([("data".to_owned(), Value::Object(Map::new()))]));
    let metadata = section(&mut fields, "metadata")?.unwrap_or_default();

    let mut document = Map::with_capacity(fields.len() + 8);
    document.insert("event_id".into(), Value::String(id.clone()));
    document.insert("event_type".into(), event_type.as_str().into());
    document.insert("timestamp".into(), timestamp.to_string().into());
    document.insert("source".into(), source.as_str().into());
    document.insert("workflow_id".into(), Value::String(workflow_id.clone()));
    document.insert("workflow_run_id".into(), Value::String(workflow_run_id.clone()));
    document.insert("payload".into(), Value::Object(payload));
    document.insert("metadata".into(), Value::Object(metadata));
    document.extend(fields);

    Ok(Event {
        id: id.into(),
        event_type,
        source,
        timestamp,
        workflow_id: workflow_id.into(),
        workflow_run_id: workflow_run_id.into(),
        document: Value::Object(document),
    })
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Poison> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let position = error.valid_up_to();
        Poison::NotUtf8 { position, byte: bytes.get(position).copied().unwrap_or_default() }
    })?;
    if text.trim().is_empty() {
        return Err(Poison::Empty);
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(Poison::NotAnObject { found: json_type(&other) }),
        Err(error) => Err(Poison::NotJson { reason: error.to_string() }),
    }
}

fn text(fields: &mut Map<String, Value>, field: &'static str) -> Result<String, Poison> {
    match fields.shift_remove(field) {
        None | Some(Value::Null) => Err(Poison::MissingField { field }),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(Poison::WrongType { field, expected: "a string", found: json_type(&other) }),
    }
}

fn non_empty(fields: &mut Map<String, Value>, field: &'static str) -> Result<String, Poison> {
    let text = text(fields, field)?;
    if text.trim().is_empty() {
        return Err(Poison::InvalidValue { field, reason: "is empty".into() });
    }
    Ok(text)
}

fn section(fields: &mut Map<String, Value>, field: &'static str) -> Result<Option<Map<String, Value>>, Poison> {
    match fields.shift_remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(section)) => Ok(Some(section)),
        Some(other) => Err(Poison::WrongType { field, expected: "an object", found: json_type(&other) }),
    }
}

fn check_event_id(id: &str) -> Result<(), Poison> {
    let reason = if id.is_empty() {
        "is empty".to_owned()
    } else if id.len() > MAX_EVENT_ID_BYTES {
        format!("has {} bytes, at most {MAX_EVENT_ID_BYTES} are allowed", id.len())
    } else if id.chars().any(char::is_control) {
        "has a control character".to_owned()
    } else {
        return Ok(());
    };
    Err(Poison::InvalidValue { field: "event_id", reason })
}

fn time(text: &str) -> Result<Timestamp, Poison> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    text.parse::<DateTime>().and_then(|naive| naive.to_zoned(TimeZone::UTC)).map(|zoned| zoned.timestamp()).map_err(
        |_| {
            let shown: String = text.chars().take(64).collect();
            Poison::InvalidValue {
                field: "timestamp",
                reason: format!("expected RFC 3339 such as 2026-01-31T12:00:00Z, found {shown:?}"),
            }
        },
    )
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
