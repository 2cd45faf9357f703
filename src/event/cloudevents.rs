//! CloudEvents 1.0 in Kafka: structured (the value holds attributes and data, as JSON) and binary
//! (the attributes are `ce_` headers, the value is the data).
//!
//! Its invariant: the envelope stays whole in the document's `cloudevent`, so a rule can match what
//! has no place of its own. Data that is a native event in itself is that event: a gateway that wraps
//! it must not give it another id.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    EventType, Limits, Poison, Raw, Source, base64, hints, ids,
    limits::TextError,
    read::{self, excerpt, has, json_type, optional, time},
};

/// A core attribute as messages name it in the two modes.
struct Attribute {
    name: &'static str,
    header: &'static str,
}

const fn core(name: &'static str, header: &'static str) -> Attribute {
    Attribute { name, header }
}

const SPECVERSION: &Attribute = &core("specversion", "ce_specversion");
const TYPE: &Attribute = &core("type", "ce_type");
const SOURCE: &Attribute = &core("source", "ce_source");
const ID: &Attribute = &core("id", "ce_id");
const SUBJECT: &Attribute = &core("subject", "ce_subject");
const TIME: &Attribute = &core("time", "ce_time");
const DATA_CONTENT_TYPE: &Attribute = &core("datacontenttype", "content-type");
const DATA_SCHEMA: &Attribute = &core("dataschema", "ce_dataschema");
const REQUIRED: [&Attribute; 4] = [SPECVERSION, TYPE, SOURCE, ID];
const CORE: [&Attribute; 8] = [SPECVERSION, TYPE, SOURCE, ID, SUBJECT, TIME, DATA_CONTENT_TYPE, DATA_SCHEMA];

/// Extensions that have a name of their own in the event, which allows underscores where CloudEvents
/// does not. Any other extension goes to the metadata as it is called.
pub(super) const EXTENSIONS: &[(&str, &str)] = &[
    ("workflowid", "workflow_id"),
    ("workflowrunid", "workflow_run_id"),
    ("taskid", "metadata.task_id"),
    ("mapindex", "metadata.map_index"),
    ("trynumber", "metadata.try_number"),
];

/// What the data may call the workflow and its run, besides.
pub(super) const WORKFLOW_IN_DATA: &[&str] = &["workflow_id", "dag_id"];
pub(super) const RUN_IN_DATA: &[&str] = &["workflow_run_id", "dag_run_id", "run_id"];

/// What makes data a native event; time and source may be the envelope's.
const NATIVE: [&str; 4] = ["event_id", "event_type", "workflow_id", "workflow_run_id"];

#[derive(Clone, Copy)]
enum Mode {
    Structured,
    Binary,
}

/// Whether the content type says that the value is a CloudEvent; an event format other than JSON is refused.
pub(super) fn is_declared(content_type: Option<&str>) -> Result<bool, Poison> {
    const MEDIA_TYPE: &str = "application/cloudevents";
    let Some(content_type) = content_type.map(str::trim) else { return Ok(false) };
    if !content_type.get(..MEDIA_TYPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(MEDIA_TYPE)) {
        return Ok(false);
    }
    let format = media_type(&content_type[MEDIA_TYPE.len()..]);
    if format.is_empty() || format == "+json" {
        return Ok(true);
    }
    Err(Poison::InvalidValue {
        field: "content-type",
        reason: format!(
            "expected application/cloudevents+json, found {:?}: publish one CloudEvent a record, in the JSON format",
            excerpt(content_type)
        ),
    })
}

/// A media type without its parameters, in lower case.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A header's value without the quotes of a client that writes headers as JSON, as Spring does.
pub(super) fn unquoted(value: &str) -> Cow<'_, str> {
    let trimmed = value.trim();
    if trimmed.len() >= 2 && trimmed.starts_with('"') && trimmed.ends_with('"') {
        return serde_json::from_str(trimmed).map_or(value.into(), Cow::Owned);
    }
    value.into()
}

/// The attributes in the headers, by their names without `ce_`. A client that writes headers as JSON
/// puts the version into quotes too, and then they are taken off everywhere.
pub(super) fn attributes(headers: &[(&str, Option<&[u8]>)]) -> Result<Map<String, Value>, Poison> {
    let mut attributes = Map::new();
    for (name, value) in headers {
        let prefixed = name
            .get(..3)
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case("ce_") || prefix.eq_ignore_ascii_case("ce-"));
        let (true, Some(value)) = (prefixed && name.len() > 3, value) else { continue };
        let name = name[3..].to_ascii_lowercase();
        match std::str::from_utf8(value) {
            Ok(text) => drop(attributes.insert(name, text.into())),
            Err(_) => {
                if let Some(attribute) = CORE.iter().find(|attribute| attribute.name == name) {
                    let reason = "expected UTF-8, found other bytes: write the attribute as text".into();
                    return Err(Poison::InvalidValue { field: attribute.header, reason });
                }
            }
        }
    }
    let quoted = |version: &str| version.trim().starts_with('"');
    if attributes.get(SPECVERSION.name).and_then(Value::as_str).is_some_and(quoted) {
        for (_, value) in &mut attributes {
            if let Some(Cow::Owned(text)) = value.as_str().map(unquoted) {
                *value = text.into();
            }
        }
    }
    Ok(attributes)
}

/// Whether there is any of the attributes that every CloudEvent has.
pub(super) fn has_any_required(attributes: &Map<String, Value>) -> bool {
    REQUIRED.iter().any(|attribute| attributes.contains_key(attribute.name))
}

/// The fields of the native event that a structured CloudEvent stands for.
pub(super) fn structured(
    mut body: Map<String, Value>,
    record: &Raw<'_>,
    limits: &Limits,
) -> Result<Map<String, Value>, Poison> {
    body.retain(|_, value| !value.is_null());
    let data = body.shift_remove("data");
    let encoded = body.shift_remove("data_base64");
    let payload = match (data, encoded) {
        (Some(data), _) => payload_of(data),
        (None, None) => content(&[], None, limits)?,
        (None, Some(Value::String(text))) => {
            let bytes = base64::decode(&text).ok_or_else(|| Poison::InvalidValue {
                field: "data_base64",
                reason: "is not base64: write data that is JSON as `data`".into(),
            })?;
            content(&bytes, attribute(&body, DATA_CONTENT_TYPE, Mode::Structured)?, limits)?
        }
        (None, Some(other)) => {
            let found = json_type(&other);
            return Err(Poison::WrongType { field: "data_base64", expected: "a string", found });
        }
    };
    fields(body, payload, Mode::Structured, record.timestamp_ms)
}

/// The fields of the native event that a binary CloudEvent stands for.
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
    let payload = content(record.value.unwrap_or_default(), content_type, limits)?;
    fields(attributes, payload, Mode::Binary, record.timestamp_ms)
}

fn payload_of(data: Value) -> Map<String, Value> {
    Map::from_iter([("data".to_owned(), data)])
}

/// Data as bytes: JSON where it is said to be or no word is said, else a text, else base64.
fn content(bytes: &[u8], content_type: Option<&str>, limits: &Limits) -> Result<Map<String, Value>, Poison> {
    if bytes.trim_ascii().is_empty() {
        return Ok(payload_of(Value::Object(Map::new())));
    }
    let declared = content_type.map(media_type);
    if declared.as_ref().is_none_or(|declared| declared.ends_with("/json") || declared.ends_with("+json")) {
        match read::json(bytes, limits) {
            Ok(Value::Null) => return content(&[], None, limits),
            Ok(data) => return Ok(payload_of(data)),
            Err(TextError::TooLarge(poison)) => return Err(poison),
            Err(TextError::NotJson(error)) if declared.is_some() => {
                let said = hints::framing(bytes).unwrap_or_else(|| hints::not_json(bytes, &error));
                let Poison::NotJson { reason } = said else { return Err(said) };
                return Err(Poison::NotJson { reason: format!("the CloudEvent's data is declared as JSON: {reason}") });
            }
            Err(TextError::NotJson(_)) => {}
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(payload_of(text.into()));
    }
    let mut payload = payload_of(Value::Object(Map::new()));
    payload.insert("data_base64".into(), base64::encode(bytes).into());
    Ok(payload)
}

/// The fields of the native event, from the envelope (without nulls) and the payload.
fn fields(
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
        let found = extensions.get(extension).into_iter().chain(in_data).find_map(word);
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

/// An event within an envelope: it is its own, and the envelope fills its gaps.
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

fn missing(mode: Mode, name: &'static str, header: &'static str, remedy: &'static str) -> Poison {
    let attribute = match mode {
        Mode::Structured => name,
        Mode::Binary => header,
    };
    Poison::MissingAttribute { what: "a CloudEvent", attribute, remedy }
}

/// The workflow or its run is not named; what Dapr wraps is often an event that is not complete.
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

fn attribute<'e>(
    envelope: &'e Map<String, Value>,
    attribute: &Attribute,
    mode: Mode,
) -> Result<Option<&'e str>, Poison> {
    let name = match mode {
        Mode::Structured => attribute.name,
        Mode::Binary => attribute.header,
    };
    optional(envelope, attribute.name, name)
}

fn required<'e>(envelope: &'e Map<String, Value>, wanted: &'static Attribute, mode: Mode) -> Result<&'e str, Poison> {
    attribute(envelope, wanted, mode)?.ok_or_else(|| {
        let remedy = match mode {
            Mode::Structured => "the value of a structured CloudEvent has specversion, type, source and id",
            Mode::Binary => "a binary CloudEvent has the headers ce_specversion, ce_type, ce_source and ce_id",
        };
        missing(mode, wanted.name, wanted.header, remedy)
    })
}

fn check_version(version: &str, mode: Mode) -> Result<(), Poison> {
    let version = version.trim();
    if version == "1" || version.starts_with("1.") {
        return Ok(());
    }
    let field = match mode {
        Mode::Structured => SPECVERSION.name,
        Mode::Binary => SPECVERSION.header,
    };
    let reason = format!("expected 1.0, found {:?}: publish CloudEvents 1.0", excerpt(version));
    Err(Poison::InvalidValue { field, reason })
}

/// The envelope's time, or else the record's.
fn timestamp(envelope: &Map<String, Value>, mode: Mode, recorded_ms: Option<i64>) -> Result<Timestamp, Poison> {
    match (attribute(envelope, TIME, mode)?, mode) {
        (Some(text), Mode::Structured) => time(text, TIME.name),
        (Some(text), Mode::Binary) => time(text, TIME.header),
        (None, _) => recorded_ms
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .ok_or_else(|| missing(mode, TIME.name, TIME.header, "set it, in RFC 3339: the record has no time either")),
    }
}

/// `com.example.workflow.completed.v1` is WORKFLOW_COMPLETED: the known name that the type ends in, but
/// for a version. Any other type is kept as it is.
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

/// `/airflow/prod`, `urn:airflow:prod` and `airflow://prod` are AIRFLOW: the known name that the source
/// begins with. Any other source is kept as it is.
fn source_name(text: &str) -> String {
    let mut parts = text.trim().split(['/', ':']).filter(|part| !part.is_empty() && !part.eq_ignore_ascii_case("urn"));
    match Source::read(parts.next().unwrap_or_default()) {
        Source::Other(_) => text.to_owned(),
        known => known.as_str().to_owned(),
    }
}

/// The extensions that name the workflow, and those that are metadata.
fn extensions(envelope: &Map<String, Value>) -> (Map<String, Value>, Map<String, Value>) {
    let (mut fields, mut metadata) = (Map::new(), Map::new());
    for (name, value) in envelope {
        if CORE.iter().any(|attribute| attribute.name == name) {
            continue;
        }
        let plain = name.to_ascii_lowercase().replace('_', "");
        let place = EXTENSIONS.iter().find(|(extension, _)| *extension == plain).map(|(_, place)| *place);
        match place.map(|place| place.strip_prefix("metadata.").ok_or(place)) {
            Some(Ok(key)) => drop(metadata.insert(key.to_owned(), whole_number(key, value))),
            Some(Err(field)) => drop(fields.insert(field.to_owned(), value.clone())),
            None => drop(metadata.insert(name.clone(), value.clone())),
        }
    }
    (fields, metadata)
}

/// Headers are texts: a rule must find `try_number: [2]` in whichever mode it came.
fn whole_number(key: &str, value: &Value) -> Value {
    match value.as_str().and_then(|text| text.trim().parse::<i64>().ok()) {
        Some(number) if key != "task_id" => number.into(),
        _ => value.clone(),
    }
}

/// A name: a text that says something, or a whole number.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}
