//! The data of a CloudEvent as the payload of an event.

use serde_json::{Map, Value};

use super::attributes::media_type;
use crate::event::{
    base64, hints,
    limits::{Limits, TextError},
    parse,
    poison::Poison,
};

/// The payload for data that is JSON.
pub(super) fn from_json(data: Value) -> Map<String, Value> {
    Map::from_iter([("data".to_owned(), data)])
}

/// The payload for data as bytes: parsed if it is declared as JSON or not declared, else text, else base64.
pub(super) fn from_bytes(
    bytes: &[u8],
    content_type: Option<&str>,
    limits: &Limits,
) -> Result<Map<String, Value>, Poison> {
    if bytes.trim_ascii().is_empty() {
        return Ok(from_json(Value::Object(Map::new())));
    }
    let declared = content_type.map(media_type);
    if declared.as_ref().is_none_or(|declared| declared.ends_with("/json") || declared.ends_with("+json")) {
        match parse::json(bytes, limits) {
            Ok(Value::Null) => return from_bytes(&[], None, limits),
            Ok(data) => return Ok(from_json(data)),
            Err(TextError::TooLarge(poison)) => return Err(poison),
            Err(TextError::NotJson(error)) if declared.is_some() => {
                let said = hints::schema_registry_frame(bytes).unwrap_or_else(|| hints::not_json(bytes, &error));
                let Poison::NotJson { reason } = said else { return Err(said) };
                return Err(Poison::NotJson { reason: format!("the CloudEvent's data is declared as JSON: {reason}") });
            }
            Err(TextError::NotJson(_)) => {}
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(from_json(text.into()));
    }
    let mut payload = from_json(Value::Object(Map::new()));
    payload.insert("data_base64".into(), base64::encode(bytes).into());
    Ok(payload)
}
