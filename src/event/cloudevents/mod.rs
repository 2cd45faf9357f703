//! CloudEvents 1.0 in Kafka: structured (attributes and data in the value, as JSON) and binary
//! (attributes in `ce_` headers, data in the value).
//!
//! Invariant: the whole envelope is kept in the document's `cloudevent`, so a rule can match every
//! attribute. Data that is a native event keeps its own id: a gateway that wraps it does not make it
//! another event.

mod attributes;
mod data;
mod mapping;

use serde_json::{Map, Value};

use attributes::{DATA_CONTENT_TYPE, Mode, attribute};

use super::{base64, fields::json_type, limits::Limits, poison::Poison, raw::Raw};

pub(super) use attributes::{from_headers, has_any_required, is_attribute, is_declared, unquoted};
#[cfg(test)]
pub(super) use mapping::{EXTENSIONS, RUN_IN_DATA, WORKFLOW_IN_DATA};

/// Maps a structured CloudEvent to the fields of a native event.
pub(super) fn structured(
    mut body: Map<String, Value>,
    record: &Raw<'_>,
    limits: &Limits,
) -> Result<Map<String, Value>, Poison> {
    body.retain(|_, value| !value.is_null());
    let data = body.shift_remove("data");
    let encoded = body.shift_remove("data_base64");
    let payload = match (data, encoded) {
        (Some(data), _) => data::from_json(data),
        (None, None) => data::from_bytes(&[], None, limits)?,
        (None, Some(Value::String(text))) => {
            let bytes = base64::decode(&text).ok_or_else(|| Poison::InvalidValue {
                field: "data_base64",
                reason: "is not base64: write data that is JSON as `data`".into(),
            })?;
            data::from_bytes(&bytes, attribute(&body, DATA_CONTENT_TYPE, Mode::Structured)?, limits)?
        }
        (None, Some(other)) => {
            let found = json_type(&other);
            return Err(Poison::WrongType { field: "data_base64", expected: "a string", found });
        }
    };
    mapping::fields(body, payload, Mode::Structured, record.recorded_ms())
}

/// Maps a binary CloudEvent to the fields of a native event.
pub(super) fn binary(
    mut attributes: Map<String, Value>,
    record: &Raw<'_>,
    content_type: Option<&str>,
    limits: &Limits,
) -> Result<Map<String, Value>, Poison> {
    if let Some(content_type) = content_type {
        attributes.insert(DATA_CONTENT_TYPE.name.into(), content_type.into());
    }
    let content_type = attributes.get(DATA_CONTENT_TYPE.name).and_then(Value::as_str);
    let payload = data::from_bytes(record.value.unwrap_or_default(), content_type, limits)?;
    mapping::fields(attributes, payload, Mode::Binary, record.recorded_ms())
}
