//! Integration events: what services tell each other, in the envelope of the Python package `integration_events`.
//!
//! Such an event is about no run of a workflow. What it happened to stands for the run, so that the events of one aggregate
//! stay in order.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    fields::{has, json_type, optional, time},
    poison::Poison,
};

/// The source of an event that names no service.
pub(super) const NO_SERVICE: &str = "INTEGRATION";

/// Fields of the envelope that become metadata under the same names.
pub(super) const METADATA: [&str; 3] = ["event_version", "correlation_id", "causation_id"];

const WHAT: &str = "an integration event";

/// Whether a body with an `event_id` is an integration event, whole or not. One that names a run of a workflow is a native
/// event whose `timestamp` has the wrong name.
pub(super) fn is_body(body: &Map<String, Value>) -> bool {
    has(body, "occurred_at") && !["timestamp", "workflow_id", "workflow_run_id"].iter().any(|field| has(body, field))
}

/// The fields of the native event.
pub(super) fn fields(mut body: Map<String, Value>) -> Result<Map<String, Value>, Poison> {
    let event_type = optional(&body, "event_type", "event_type")?.ok_or(missing("event_type"))?.to_owned();
    let occurred_at = optional(&body, "occurred_at", "occurred_at")?.ok_or(missing("occurred_at"))?;
    let timestamp = time(occurred_at, "occurred_at")?.to_string();
    let source = text_if_any(&body, "source_service", "source_service")?.unwrap_or(NO_SERVICE).to_owned();
    let payload = match body.shift_remove("payload") {
        Some(Value::Object(payload)) => payload,
        None | Some(Value::Null) => return Err(missing("payload")),
        Some(other) => {
            let (field, found) = ("payload", json_type(&other));
            return Err(Poison::WrongType { field, expected: "an object", found });
        }
    };
    let event_id = id(&body, "event_id", "event_id")?.ok_or(missing("event_id"))?.into_owned();
    let workflow = text_if_any(&payload, "aggregate_type", "payload.aggregate_type")?
        .map_or_else(|| event_type.clone(), str::to_owned);
    let run = match id_if_any(&payload, "aggregate_id", "payload.aggregate_id")? {
        Some(aggregate) => aggregate,
        None => id_if_any(&body, "correlation_id", "correlation_id")?.unwrap_or(Cow::Borrowed(&event_id)),
    };
    let run = run.into_owned();

    let mut metadata = Map::new();
    for name in METADATA {
        if let Some(text) = id_if_any(&body, name, name)? {
            metadata.insert(name.to_owned(), text.into());
        }
    }
    let mut fields = Map::new();
    fields.insert("event_id".into(), event_id.into());
    fields.insert("event_type".into(), event_type.into());
    fields.insert("timestamp".into(), timestamp.into());
    fields.insert("source".into(), source.into());
    fields.insert("workflow_id".into(), workflow.into());
    fields.insert("workflow_run_id".into(), run.into());
    fields.insert("metadata".into(), metadata.into());
    fields.insert("payload".into(), Map::from_iter([("data".to_owned(), Value::Object(payload))]).into());
    Ok(fields)
}

/// An id or a version, which may be a number too.
fn id<'b>(fields: &'b Map<String, Value>, field: &str, name: &'static str) -> Result<Option<Cow<'b, str>>, Poison> {
    match fields.get(field) {
        Some(Value::Number(number)) => Ok(Some(number.to_string().into())),
        _ => Ok(optional(fields, field, name)?.map(Cow::Borrowed)),
    }
}

/// An optional string. Blank counts as absent: a publisher had no value for it.
fn text_if_any<'b>(fields: &'b Map<String, Value>, field: &str, name: &'static str) -> Result<Option<&'b str>, Poison> {
    if is_blank(fields, field) { Ok(None) } else { optional(fields, field, name) }
}

/// As [`text_if_any`], of an id or a version.
fn id_if_any<'b>(
    fields: &'b Map<String, Value>,
    field: &str,
    name: &'static str,
) -> Result<Option<Cow<'b, str>>, Poison> {
    if is_blank(fields, field) { Ok(None) } else { id(fields, field, name) }
}

fn is_blank(fields: &Map<String, Value>, field: &str) -> bool {
    fields.get(field).and_then(Value::as_str).is_some_and(|text| text.trim().is_empty())
}

fn missing(attribute: &'static str) -> Poison {
    let remedy = "an integration event has event_id, event_type, occurred_at and payload, an object; an event about a workflow has a \
                  timestamp instead of occurred_at";
    Poison::MissingAttribute { what: WHAT, attribute, remedy }
}
