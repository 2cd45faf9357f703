//! Maps a CloudEvent to the fields of a native event.

use serde_json::{Map, Value};

use super::attributes::{
    CORE, ID, Mode, SOURCE, SPECVERSION, SUBJECT, TYPE, attribute, check_version, missing, required, timestamp,
};
use crate::event::{
    fields::has,
    hints, ids,
    names::{EventType, Source},
    poison::Poison,
};

/// Extensions that have another name in the event, because CloudEvents allows no underscores. Any
/// other extension goes to the metadata under its own name.
pub(in crate::event) const EXTENSIONS: &[(&str, &str)] = &[
    ("workflowid", "workflow_id"),
    ("workflowrunid", "workflow_run_id"),
    ("taskid", "metadata.task_id"),
    ("mapindex", "metadata.map_index"),
    ("trynumber", "metadata.try_number"),
];

/// Names of the workflow and of its run in the data.
pub(in crate::event) const WORKFLOW_IN_DATA: &[&str] = &["workflow_id", "dag_id"];
pub(in crate::event) const RUN_IN_DATA: &[&str] = &["workflow_run_id", "dag_run_id", "run_id"];

/// Data with these fields is a native event. Its time and source may come from the envelope.
const NATIVE: [&str; 4] = ["event_id", "event_type", "workflow_id", "workflow_run_id"];

/// The fields of the native event, from the envelope (without nulls) and the payload.
pub(super) fn fields(
    envelope: Map<String, Value>,
    mut payload: Map<String, Value>,
    mode: Mode,
    recorded_ms: Option<i64>,
) -> Result<Map<String, Value>, Poison> {
    let (extensions, metadata) = extensions(&envelope);
    if let Some(Value::Object(inner)) = payload.get_mut("data")
        && NATIVE.iter().all(|field| has(inner, field))
    {
        return native(std::mem::take(inner), envelope, metadata, mode, recorded_ms);
    }
    check_version(required(&envelope, SPECVERSION, mode)?, mode)?;
    let source = required(&envelope, SOURCE, mode)?;
    let id = ids::of_parts(&[source.as_bytes(), required(&envelope, ID, mode)?.as_bytes()]);
    let event_type = event_type(required(&envelope, TYPE, mode)?);
    let subject = attribute(&envelope, SUBJECT, mode)?.map(|subject| subject.trim_start_matches('/'));
    let (subject_workflow, subject_run) = match subject.map(|subject| subject.split_once('/')) {
        Some(Some((workflow, run))) => (Some(workflow), Some(run)),
        _ => (subject, None),
    };
    let find = |extension: &str, in_data: &[&str], in_subject: Option<&str>| {
        let data = payload.get("data");
        let in_data = in_data.iter().filter_map(|name| data?.get(name));
        let found = extensions.get(extension).into_iter().chain(in_data).find_map(name);
        found.or_else(|| in_subject.filter(|text| !text.trim().is_empty()).map(str::to_owned))
    };
    let workflow_id = find("workflow_id", WORKFLOW_IN_DATA, subject_workflow)
        .ok_or_else(|| unnamed(&envelope, mode, "workflowid", "ce_workflowid", NAME_THE_WORKFLOW))?;
    let run_id = find("workflow_run_id", RUN_IN_DATA, subject_run)
        .ok_or_else(|| unnamed(&envelope, mode, "workflowrunid", "ce_workflowrunid", NAME_THE_RUN))?;
    let timestamp = timestamp(&envelope, mode, recorded_ms)?;

    let mut fields = Map::new();
    fields.insert("event_id".into(), id.into());
    fields.insert("event_type".into(), event_type.into());
    fields.insert("timestamp".into(), timestamp.to_string().into());
    fields.insert("source".into(), source_name(source).into());
    fields.insert("workflow_id".into(), workflow_id.into());
    fields.insert("workflow_run_id".into(), run_id.into());
    fields.insert("payload".into(), payload.into());
    fields.insert("metadata".into(), metadata.into());
    fields.insert("cloudevent".into(), envelope.into());
    Ok(fields)
}

/// A native event in an envelope: it keeps its fields, and the envelope supplies the missing ones.
fn native(
    mut event: Map<String, Value>,
    envelope: Map<String, Value>,
    extensions: Map<String, Value>,
    mode: Mode,
    recorded_ms: Option<i64>,
) -> Result<Map<String, Value>, Poison> {
    if !has(&event, "timestamp") {
        event.insert("timestamp".into(), timestamp(&envelope, mode, recorded_ms)?.to_string().into());
    }
    if !has(&event, "source") {
        event.insert("source".into(), source_name(required(&envelope, SOURCE, mode)?).into());
    }
    if !has(&event, "metadata") {
        event.insert("metadata".into(), Map::new().into());
    }
    if let Some(Value::Object(metadata)) = event.get_mut("metadata") {
        for (name, value) in extensions {
            metadata.entry(name).or_insert(value);
        }
    }
    event.entry("cloudevent").or_insert_with(|| envelope.into());
    Ok(event)
}

const NAME_THE_WORKFLOW: &str = "set the extension attribute workflowid, or workflow_id in the data, or a subject of \
                                 the form WORKFLOW/RUN";
const NAME_THE_RUN: &str = "set the extension attribute workflowrunid, or workflow_run_id in the data, or a subject \
                            of the form WORKFLOW/RUN";

/// The error for a CloudEvent without a workflow or a run. Dapr often wraps events that are incomplete.
fn unnamed(
    envelope: &Map<String, Value>,
    mode: Mode,
    name: &'static str,
    header: &'static str,
    remedy: &'static str,
) -> Poison {
    if hints::is_dapr(envelope) {
        return Poison::MissingAttribute { what: hints::DAPR, attribute: name, remedy: hints::UNWRAP_DAPR };
    }
    missing(mode, name, header, remedy)
}

/// The known name at the end of the type, before a version: `com.example.workflow.completed.v1` is
/// WORKFLOW_COMPLETED. Any other type is kept.
fn event_type(text: &str) -> String {
    let mut labels: Vec<&str> = text.trim().split('.').collect();
    while labels.len() > 1
        && labels.last().is_some_and(|label| {
            let digits = label.strip_prefix(['v', 'V']).unwrap_or(label);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    {
        labels.pop();
    }
    let last = |count: usize| labels[labels.len().saturating_sub(count)..].join(".");
    [last(1), last(2)]
        .iter()
        .map(|name| EventType::read(name))
        .find(|event_type| !matches!(event_type, EventType::Other(_)))
        .map_or_else(|| text.to_owned(), |event_type| event_type.as_str().to_owned())
}

/// The known name at the start of the source: `/airflow/prod`, `urn:airflow:prod` and `airflow://prod`
/// are AIRFLOW. Any other source is kept.
fn source_name(text: &str) -> String {
    let mut parts = text.trim().split(['/', ':']).filter(|part| !part.is_empty() && !part.eq_ignore_ascii_case("urn"));
    match Source::read(parts.next().unwrap_or_default()) {
        Source::Other(_) => text.to_owned(),
        known => known.as_str().to_owned(),
    }
}

/// The extensions: fields of the event, and metadata.
fn extensions(envelope: &Map<String, Value>) -> (Map<String, Value>, Map<String, Value>) {
    let (mut fields, mut metadata) = (Map::new(), Map::new());
    for (name, value) in envelope {
        if CORE.iter().any(|attribute| attribute.name == name) {
            continue;
        }
        let plain = name.to_ascii_lowercase().replace('_', "");
        let target = EXTENSIONS.iter().find(|(extension, _)| *extension == plain).map(|(_, target)| *target);
        match target.map(|target| target.strip_prefix("metadata.").ok_or(target)) {
            Some(Ok(key)) => drop(metadata.insert(key.to_owned(), whole_number(key, value))),
            Some(Err(field)) => drop(fields.insert(field.to_owned(), value.clone())),
            None => drop(metadata.insert(name.clone(), value.clone())),
        }
    }
    (fields, metadata)
}

/// Headers are strings: converts whole numbers, so that a rule with `try_number: [2]` matches in both modes.
fn whole_number(key: &str, value: &Value) -> Value {
    match value.as_str().and_then(|text| text.trim().parse::<i64>().ok()) {
        Some(number) if key != "task_id" => number.into(),
        _ => value.clone(),
    }
}

/// A name: a string that is not blank, or a whole number.
fn name(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}
