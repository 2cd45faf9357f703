//! Events as a publisher would write them.

use serde_json::{Value, json};

use super::{kafka::Record, unique};

/// An event in the making: a completed workflow, unless told otherwise.
#[derive(Debug, Clone)]
pub struct TestEvent(Value);

/// A completed run of `etl_daily` in production with this event id; the run's id is its own.
pub fn event(event_id: &str) -> TestEvent {
    TestEvent(json!({
        "event_id": event_id,
        "event_type": "WORKFLOW_COMPLETED",
        "timestamp": "2026-01-02T03:04:05Z",
        "source": "AIRFLOW",
        "workflow_id": "etl_daily",
        "workflow_run_id": format!("run-{event_id}"),
        "payload": {"data": {"status": "success"}},
        "metadata": {"environment": "prod", "version": "1.0"},
    }))
}

/// `count` events with ids of their own: `<prefix>-<random>-00000` and on.
pub fn events(prefix: &str, count: usize) -> Vec<TestEvent> {
    let prefix = unique(prefix);
    (0..count).map(|number| event(&format!("{prefix}-{number:05}"))).collect()
}

impl TestEvent {
    /// Sets a field at the top.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }

    /// Sets `workflow_id`.
    pub fn workflow(self, id: &str) -> Self {
        self.with("workflow_id", id)
    }

    /// Sets `workflow_run_id`.
    pub fn run(self, id: &str) -> Self {
        self.with("workflow_run_id", id)
    }

    /// Sets `event_type`.
    pub fn event_type(self, event_type: &str) -> Self {
        self.with("event_type", event_type)
    }

    /// Sets `payload.data`.
    pub fn data(mut self, data: Value) -> Self {
        self.0["payload"]["data"] = data;
        self
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.0["event_id"].as_str().unwrap_or_default()
    }

    /// `workflow_id/workflow_run_id`.
    pub fn key(&self) -> String {
        let field = |name: &str| self.0[name].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", field("workflow_id"), field("workflow_run_id"))
    }

    /// The event as JSON.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The record that a publisher would write.
    pub fn record(&self) -> Record {
        Record::new(self.0.to_string())
            .key(self.key())
            .header("event_id", self.id())
            .header("event_type", self.0["event_type"].as_str().unwrap_or_default())
            .header("content-type", "application/json")
    }
}
