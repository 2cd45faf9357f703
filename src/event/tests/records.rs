//! Records for the tests of the dialects: from vectors, and arbitrary ones.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::event::{Event, FieldSet, Limits, Poison, Projected, Raw, base64, decode};

/// A record that owns its bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnedRecord {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(super) timestamp_ms: Option<i64>,
}

impl OwnedRecord {
    pub(super) fn decode(&self) -> Result<Event, Poison> {
        self.read(|raw| decode(raw))
    }

    /// Hands over the projection, and what it has read of the fields; `None` without one.
    pub(super) fn project<T>(&self, fields: &FieldSet, then: impl FnOnce(Projected<'_>, Value) -> T) -> Option<T> {
        self.read(|raw| {
            let (projected, document) = Limits::default().project(&raw, fields)?;
            Some(then(projected, document.to_value()))
        })
    }

    pub(super) fn is_projected(&self, fields: &FieldSet) -> bool {
        self.project(fields, |_, _| ()).is_some()
    }

    fn read<T>(&self, read: impl FnOnce(Raw<'_>) -> T) -> T {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        read(Raw {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
            timestamp_ms: self.timestamp_ms,
        })
    }

    /// As a vector has it: headers as an object, or as a list where the order or a repetition matters.
    pub(super) fn of_vector(record: &Map<String, Value>) -> Self {
        let bytes = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
        let mut written = Self::default();
        for (field, value) in record {
            match (field.as_str(), value) {
                ("key", _) => written.key = bytes(value),
                ("value", _) => written.value = bytes(value),
                ("value_base64", Value::String(text)) => written.value = base64::decode(text),
                ("timestamp_ms", _) => written.timestamp_ms = value.as_i64(),
                ("headers", Value::Object(headers)) => {
                    written.headers = headers.iter().map(|(name, value)| (name.clone(), bytes(value))).collect();
                }
                ("headers", Value::Array(headers)) => {
                    written.headers = headers
                        .iter()
                        .map(|header| (header[0].as_str().unwrap().to_owned(), bytes(&header[1])))
                        .collect();
                }
                _ => panic!("a vector's record has no `{field}`: {value}"),
            }
        }
        written
    }
}

pub(super) fn binary_cloudevent() -> OwnedRecord {
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_type", "workflow.completed"),
        ("ce_source", "/airflow"),
        ("ce_id", "1"),
        ("ce_time", "2026-01-31T12:00:00Z"),
        ("ce_subject", "etl/r1"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec())));
    OwnedRecord { headers: headers.to_vec(), ..OwnedRecord::default() }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((field_name(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Names that mean something in some dialect, and others.
pub(super) fn field_name() -> impl Strategy<Value = String> {
    let known = [
        "event_id",
        "event_type",
        "timestamp",
        "source",
        "workflow_id",
        "workflow_run_id",
        "payload",
        "metadata",
        "cloudevent",
        "schema_version",
        "event",
        "dag_id",
        "run_id",
        "task_id",
        "map_index",
        "try_number",
        "specversion",
        "type",
        "id",
        "time",
        "subject",
        "data",
        "data_base64",
        "datacontenttype",
        "workflowid",
        "workflowrunid",
        "taskid",
        "mapindex",
        "environment",
        "traceparent",
        "tracestate",
        "eventType",
        "eventTime",
        "run",
        "runId",
        "job",
        "facets",
        "producer",
        "occurred_at",
        "source_service",
        "correlation_id",
        "aggregate_id",
        "aggregate_type",
        // The name that serde_json itself uses for JSON within a string.
        "$serde_json::private::RawValue",
    ];
    prop_oneof![8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"]
}

/// Texts that mean something somewhere, and others.
fn any_text() -> impl Strategy<Value = String> {
    let known = [
        "1.0",
        "0.3",
        "workflow.completed",
        "com.example.workflow.failed.v1",
        "dag_run.success",
        "task_instance.skipped",
        "2026-01-31T12:00:00.123456+01:00",
        "2026-01-31 12:00:00",
        "COMPLETE",
        "running",
        "etl/r1",
        "etl",
        "7",
        "/airflow/prod",
        "urn:LANGGRAPH",
        "application/json",
        "application/cloudevents+json",
        "text/plain",
        "",
        " ",
        "aGVsbG8=",
    ];
    prop_oneof![8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,12}"]
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![4 => any_text().prop_map(Value::from), 1 => any_json()];
    proptest::collection::vec((field_name(), value), 0..12).prop_map(|fields| fields.into_iter().collect())
}

/// An object that is whole in one of the dialects, but for what is laid over it.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let whole = [
        json!({}),
        json!({"event_id": "e", "event_type": "workflow.completed", "timestamp": "2026-01-31T12:00:00Z",
               "source": "airflow", "workflow_id": "w", "workflow_run_id": "r"}),
        json!({"schema_version": 1, "event": "task_instance.success", "timestamp": "2026-01-31T12:00:00Z",
               "dag_id": "w", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}),
        json!({"specversion": "1.0", "type": "a.workflow.failed", "source": "s", "id": "1", "subject": "w/r",
               "time": "2026-01-31T12:00:00Z"}),
        json!({"eventType": "COMPLETE", "eventTime": "2026-01-31T12:00:00Z", "producer": "p",
               "run": {"runId": "r", "facets": {"parent": {"run": {"runId": "p"}, "job": {"namespace": "n", "name": "w"}}}},
               "job": {"namespace": "n", "name": "w.t", "facets": {"jobType": {"integration": "AIRFLOW", "jobType": "TASK"}}}}),
        json!({"event_id": "e", "event_type": "UserCreated", "event_version": "1.0", "occurred_at": "2026-01-31T12:00:00Z",
               "correlation_id": "c", "source_service": "users", "payload": {"aggregate_id": 7, "aggregate_type": "user"}}),
    ];
    (proptest::sample::select(whole.to_vec()), any_object(), any::<bool>()).prop_map(|(mut body, over, keep)| {
        if keep && let Some(body) = body.as_object_mut() {
            for (name, value) in over {
                body.entry(name).or_insert(value);
            }
        } else if let Some(body) = body.as_object_mut() {
            body.extend(over);
        }
        body.to_string().into_bytes()
    })
}

pub(super) fn any_record() -> impl Strategy<Value = OwnedRecord> {
    let value = prop_oneof![
        8 => any_body(),
        1 => any_json().prop_map(|value| value.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let name = prop_oneof![
        4 => field_name().prop_map(|name| format!("ce_{name}")),
        2 => Just("content-type".to_owned()),
        1 => ".{0,6}",
    ];
    let text =
        prop_oneof![8 => any_text().prop_map(String::into_bytes), 1 => proptest::collection::vec(any::<u8>(), 0..8)];
    let headers = proptest::collection::vec((name, proptest::option::weighted(0.9, text)), 0..4);
    let key = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8));
    let time = prop_oneof![3 => 0..2_000_000_000_000_i64, 1 => any::<i64>()];
    (key, proptest::option::weighted(0.9, value), headers, 0..4_u8, proptest::option::of(time)).prop_map(
        |(key, value, mut headers, cloudevent, timestamp_ms)| {
            if cloudevent == 0 {
                headers.splice(0..0, binary_cloudevent().headers);
            }
            OwnedRecord { key, value, headers, timestamp_ms }
        },
    )
}
