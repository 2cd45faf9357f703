//! The sample records, and the expected outcome of each.

use serde_json::{Value, json};

/// One record of the demo.
pub(super) struct Sample {
    pub(super) what: &'static str,
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) expected: &'static str,
}

fn event(id: &str, event_type: &str, workflow: &str, run: &str, status: &str) -> Value {
    json!({
        "event_id": id,
        "event_type": event_type,
        "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW",
        "workflow_id": workflow,
        "workflow_run_id": run,
        "payload": {"data": {"status": status, "rows": 1200}},
        "metadata": {"environment": "prod", "version": "1.0", "scope": "dag"},
    })
}

fn sample(what: &'static str, value: &Value, expected: &'static str) -> Sample {
    let part = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let key = format!("{}/{}", part("workflow_id"), part("workflow_run_id"));
    Sample { what, key, value: value.to_string().into_bytes(), expected }
}

/// Every sample, in the order of publishing.
pub(super) fn samples() -> Vec<Sample> {
    let completed = |id, run| event(id, "WORKFLOW_COMPLETED", "etl_orders", run, "success");
    let mut spelled = completed("demo-3", "run-3");
    spelled["event_type"] = "workflow.completed".into();
    let mut other_content = completed("demo-1", "run-1");
    other_content["workflow_run_id"] = "run-99".into();
    vec![
        sample("a DAG completed", &completed("demo-1", "run-1"), "delivered"),
        sample("another run of it", &completed("demo-2", "run-2"), "delivered"),
        sample("the first, published twice", &completed("demo-1", "run-1"), "duplicate"),
        sample("written workflow.completed", &spelled, "delivered"),
        sample("a DAG failed", &event("demo-4", "WORKFLOW_FAILED", "etl_orders", "run-4", "failed"), "delivered"),
        sample("a DAG started", &event("demo-5", "WORKFLOW_TRIGGERED", "etl_orders", "run-5", "running"), "unmatched"),
        sample("a DAG no rule names", &event("demo-6", "WORKFLOW_COMPLETED", "adhoc", "run-6", "success"), "unmatched"),
        Sample {
            what: "no JSON at all",
            key: "etl_orders/run-7".into(),
            value: b"oops".to_vec(),
            expected: "dead_lettered",
        },
        Sample {
            what: "an id used again",
            // The key of the first, so that it is read after it.
            key: "etl_orders/run-1".into(),
            value: other_content.to_string().into_bytes(),
            expected: "dead_lettered",
        },
        sample("the second, once more", &completed("demo-2", "run-2"), "duplicate"),
    ]
}
