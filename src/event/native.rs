//! The native dialect: every other dialect is mapped to it.

use serde_json::{Map, Value};

use super::{
    dialect::Dialect,
    fields::{non_empty, section, text, time},
    lazy::Document,
    model::{Event, MAX_EVENT_ID_BYTES},
    names::{EventType, Source},
    poison::Poison,
};

/// Makes the event from the fields of a native one.
///
/// Names of types and sources are read in any case and spelling, and unknown ones are kept. A time
/// without an offset is UTC. Unknown fields stay in the document. The default of `payload` is
/// `{"data": {}}`, and of `metadata` `{}`.
pub(super) fn event(mut fields: Map<String, Value>, dialect: Dialect) -> Result<Event, Poison> {
    let id = text(&mut fields, "event_id")?;
    check_event_id(&id)?;
    let event_type = EventType::read(&non_empty(&mut fields, "event_type")?);
    let timestamp = time(&text(&mut fields, "timestamp")?, "timestamp")?;
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
        document: Document::Decoded(Value::Object(document)),
        dialect,
    })
}

/// Whether a text may be an `event_id`.
pub(crate) fn check_event_id(id: &str) -> Result<(), Poison> {
    let is_plain = id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_plain && (1..=MAX_EVENT_ID_BYTES).contains(&id.len()) {
        return Ok(());
    }
    let reason = if id.is_empty() {
        "is empty".to_owned()
    } else if id.len() > MAX_EVENT_ID_BYTES {
        format!("has {} bytes, at most {MAX_EVENT_ID_BYTES} are allowed", id.len())
    } else if let Some((at, found)) = id.chars().enumerate().find(|(_, c)| c.is_control()) {
        format!("has the control character `{}` as its character {}", found.escape_debug(), at + 1)
    } else {
        return Ok(());
    };
    Err(Poison::InvalidValue { field: "event_id", reason })
}
