//! Messages for records that cannot be read: what the record probably is, and what to publish instead.
//!
//! It only writes messages; it decides nothing else.

use serde_json::{Map, Value};

use super::{
    fields::{has, json_type},
    poison::Poison,
};

pub(super) const DAPR: &str = "a message in Dapr's envelope";
pub(super) const UNWRAP_DAPR: &str = "publish a complete event as its data (event_id, event_type, workflow_id, workflow_run_id) with the content type \
     application/json, or set the extension attributes workflowid and workflowrunid";

/// Whether Dapr wrapped a message in this CloudEvent.
pub(super) fn is_dapr(envelope: &Map<String, Value>) -> bool {
    has(envelope, "pubsubname")
        || envelope.get("type").and_then(Value::as_str).is_some_and(|name| name.starts_with("com.dapr."))
}

/// The error for a value that begins with the frame of a schema registry. No JSON begins like that.
pub(super) fn schema_registry_frame(value: &[u8]) -> Option<Poison> {
    const REMEDY: &str = "publish plain JSON, with a serializer that uses no schema registry";
    let said = match *value {
        // Text in UTF-16 begins with a zero as well.
        [0, a, 0, b, 0, ..] if a != 0 && b != 0 => return None,
        [0, a, b, c, d, ref rest @ ..] => {
            let id = u32::from_be_bytes([a, b, c, d]);
            let what = if rest.trim_ascii_start().starts_with(b"{") { "JSON" } else { "Avro or Protobuf" };
            format!("magic byte 0, schema id {id}) before {what}")
        }
        [3, 0 | 5, ref rest @ ..] if rest.len() >= 16 => {
            let id = rest[..16].iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
            format!("AWS Glue, schema version {id})")
        }
        _ => return None,
    };
    Some(Poison::NotJson { reason: format!("found the frame of a schema registry ({said}: {REMEDY}") })
}

/// The parser's error, with a hint about what it probably found.
pub(super) fn not_json(text: &[u8], error: &serde_json::Error) -> Poison {
    let line_start = match error.line() {
        0 | 1 => 0,
        line => text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(line - 2).map_or(0, |(at, _)| at + 1),
    };
    let at = text.get((line_start + error.column()).saturating_sub(1)..).unwrap_or_default();
    let found = |names: &'static [&'static str]| names.iter().find(|name| at.starts_with(name.as_bytes()));
    let hint = if let Some(name) = found(&["NaN", "Infinity"]) {
        format!(
            ": found {name}, which JSON does not have: write null or a text instead (in Python, \
             json.dumps(..., allow_nan=False) raises on it)"
        )
    } else if let Some(name) = found(&["'", "None", "True", "False"]) {
        format!(": found {name}, as Python prints an object: write json.dumps(event) instead of str(event)")
    } else {
        String::new()
    };
    Poison::NotJson { reason: format!("{error}{hint}") }
}

/// The error for JSON that is not an object.
pub(super) fn not_an_object(found: &Value) -> Poison {
    let encoded_twice = found.as_str().is_some_and(|text| text.trim_start().starts_with('{'));
    Poison::NotAnObject {
        found: if encoded_twice {
            "a string that holds an object: it was encoded as JSON twice, publish it encoded once"
        } else {
            json_type(found)
        },
    }
}

/// The error for an event in the envelope of Kafka Connect's JsonConverter.
pub(super) fn connect_envelope(body: &Map<String, Value>) -> Option<Poison> {
    (has(body, "schema") && has(body, "payload")).then_some(Poison::MissingAttribute {
        what: "the envelope of Kafka Connect's JsonConverter (schema and payload)",
        attribute: "event_id",
        remedy: "set value.converter.schemas.enable=false, so that the event itself is published",
    })
}
