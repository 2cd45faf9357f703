//! The event producer of Airflow's official Kafka provider (`kafka_event_producer`, schema version 1).
//!
//! One flat object for each state change of a DAG run or a task instance, without an id. A state that
//! is reported again has another timestamp and is another event; only the same record again is a
//! duplicate.

use serde_json::{Map, Value};

use super::{
    fields::{has, optional, time},
    ids,
    names::canonical,
    poison::Poison,
    raw::Raw,
};

/// The provider's event names, with their event type and scope.
pub(super) const EVENTS: &[(&str, &str, &str)] = &[
    ("dag_run.running", "WORKFLOW_TRIGGERED", "dag"),
    ("dag_run.success", "WORKFLOW_COMPLETED", "dag"),
    ("dag_run.failed", "WORKFLOW_FAILED", "dag"),
    ("task_instance.running", "WORKFLOW_TRIGGERED", "task"),
    ("task_instance.success", "WORKFLOW_COMPLETED", "task"),
    ("task_instance.failed", "WORKFLOW_FAILED", "task"),
];

/// Fields of a task's event that are copied to its metadata.
pub(super) const OF_TASKS: &[&str] = &["task_id", "map_index", "try_number"];

/// Whether a body without an `event_id` is the provider's.
pub(super) fn is_body(body: &Map<String, Value>) -> bool {
    !has(body, "event_type") && has(body, "event") && (has(body, "schema_version") || has(body, "dag_id"))
}

/// The fields of the native event.
pub(super) fn fields(body: Map<String, Value>, record: &Raw<'_>) -> Result<Map<String, Value>, Poison> {
    let event = required(&body, "event")?;
    let (event_type, scope) = read_event(event);
    let mut metadata = Map::new();
    if let Some(scope) = scope {
        metadata.insert("scope".into(), scope.into());
    }
    if scope == Some("task") {
        for field in OF_TASKS.iter().filter(|field| has(&body, field)) {
            metadata.insert((*field).into(), body[*field].clone());
        }
    }
    let id = ids::of_parts(&[record.key.unwrap_or_default(), record.value.unwrap_or_default()]);
    let mut fields = Map::new();
    fields.insert("event_id".into(), id.into());
    fields.insert("event_type".into(), event_type.into());
    fields.insert("timestamp".into(), time(required(&body, "timestamp")?, "timestamp")?.to_string().into());
    fields.insert("source".into(), "AIRFLOW".into());
    fields.insert("workflow_id".into(), required(&body, "dag_id")?.into());
    fields.insert("workflow_run_id".into(), required(&body, "run_id")?.into());
    fields.insert("metadata".into(), metadata.into());
    fields.insert("payload".into(), Map::from_iter([("data".to_owned(), Value::Object(body))]).into());
    Ok(fields)
}

fn required<'b>(body: &'b Map<String, Value>, field: &'static str) -> Result<&'b str, Poison> {
    optional(body, field, field)?.ok_or(Poison::MissingAttribute {
        what: "an event of Airflow's Kafka provider",
        attribute: field,
        remedy: "the provider's event producer writes event, timestamp, dag_id and run_id; an event of another \
                 publisher needs an event_id of its own",
    })
}

/// The event type, and the scope (`dag` or `task`) if the name tells it. An unknown name is kept.
fn read_event(event: &str) -> (&str, Option<&'static str>) {
    let name = canonical(event);
    if let Some((_, event_type, scope)) = EVENTS.iter().find(|(known, ..)| canonical(known) == name) {
        return (event_type, Some(scope));
    }
    let scope = [("DAG_RUN_", "dag"), ("TASK_INSTANCE_", "task")];
    (event, scope.into_iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, scope)| scope))
}
