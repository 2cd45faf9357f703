//! What is said to a LangGraph server, and how its answers are read.
//!
//! Owns the shapes of the run API. It knows nothing of when a request is made.

use std::time::Duration;

use reqwest::Url;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::{Delivery, LangGraphSpec};

/// How many runs are asked for at a time. The thread is the delivery's own, so one page is all
/// there is, unless somebody else runs things on it.
pub(super) const PAGE: usize = 100;
/// How many pages are read: what lies beyond is not the bridge's.
pub(super) const PAGES: usize = 100;

/// The thread of a turn: the delivery's own, or one derived from it.
pub(super) fn thread_id(delivery: &Delivery, turn: u32) -> Uuid {
    let own = delivery.id.as_uuid();
    if turn == 0 { own } else { Uuid::new_v5(&own, &turn.to_be_bytes()) }
}

/// `base` with more path segments; its query stays.
pub(super) fn at(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// The body of `POST /threads`.
pub(super) fn claim(delivery: &Delivery, turn: u32, nonce: Uuid, ttl: Option<Duration>) -> Value {
    let mut metadata = coordinates(delivery);
    metadata.insert("nonce".into(), nonce.to_string().into());
    if turn > 0 {
        metadata.insert("turn".into(), turn.into());
        metadata.insert("turn_of".into(), delivery.id.to_string().into());
    }
    let thread_id = thread_id(delivery, turn).to_string();
    let mut body = json!({"thread_id": thread_id, "if_exists": "raise", "metadata": metadata});
    if let Some(ttl) = ttl {
        body["ttl"] = json!({"strategy": "delete", "ttl": ttl.as_secs_f64() / 60.0});
    }
    body
}

/// The body of `POST /threads/{id}/runs`.
pub(super) fn run(delivery: &Delivery, spec: &LangGraphSpec) -> Value {
    let mut body = json!({
        "assistant_id": spec.assistant,
        "input": delivery.body.clone().unwrap_or_else(|| default_input(delivery)),
        "multitask_strategy": "reject",
        "metadata": coordinates(delivery),
    });
    if let Some(config) = delivery.settings.config.as_ref().or(spec.config.as_ref()) {
        body["config"] = config.clone();
    }
    if let Some(context) = delivery.settings.context.as_ref().or(spec.context.as_ref()) {
        body["context"] = context.clone();
    }
    body
}

/// Serves typed graphs, which read `event`, and chat graphs, which read `messages`.
fn default_input(delivery: &Delivery) -> Value {
    let event = delivery.event.document();
    json!({"event": event, "messages": [{"role": "user", "content": event.to_string()}]})
}

/// Which event this is, on the thread and on the run, and what the routing file adds to that. The
/// bridge's own keys come last, so nothing replaces them.
fn coordinates(delivery: &Delivery) -> Map<String, Value> {
    let mut map = delivery.settings.metadata.clone();
    map.insert("event_id".into(), delivery.event.id().into());
    map.insert("rule".into(), (&*delivery.rule).into());
    map.insert("agent".into(), (&*delivery.agent).into());
    map.insert("kafka_topic".into(), (&*delivery.origin.topic).into());
    map.insert("kafka_partition".into(), delivery.origin.partition.into());
    map.insert("kafka_offset".into(), delivery.origin.offset.into());
    if let Some(traceparent) = &delivery.traceparent {
        map.insert("traceparent".into(), (&**traceparent).into());
    }
    map
}

/// A thread, as the server shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thread {
    /// Who made it; `None` when that was no bridge.
    pub nonce: Option<Uuid>,
}

/// The thread that a claim or a question about it was answered with, when it is the one expected.
pub(super) fn thread(body: &[u8], expected: Uuid) -> Option<Thread> {
    let body: Value = serde_json::from_slice(body).ok()?;
    if uuid(&body["thread_id"])? != expected {
        return None;
    }
    Some(Thread { nonce: uuid(&body["metadata"]["nonce"]) })
}

/// The run that was created, when the answer is one, and of that thread.
pub(super) fn created(body: &[u8], thread: Uuid) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let ours = body.get("thread_id").is_none_or(|id| uuid(id) == Some(thread));
    body["run_id"].as_str().filter(|id| ours && !id.is_empty()).map(str::to_owned)
}

/// A page of runs: the id of one that carries the event's id, and how many there were. `None` when
/// it is no list of runs.
pub(super) fn look(body: &[u8], event_id: &str) -> Option<(Option<String>, usize)> {
    let runs: Vec<Value> = serde_json::from_slice(body).ok()?;
    let mut found = None;
    for run in &runs {
        let run_id = run["run_id"].as_str()?;
        if run["metadata"]["event_id"].as_str() == Some(event_id) {
            found = Some(run_id.to_owned());
        }
    }
    Some((found, runs.len()))
}

/// The text of an error, as `{"detail": text}` or as it stands.
pub(super) fn detail(body: &[u8]) -> String {
    let detail = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut object)) => object.remove("detail"),
        _ => None,
    };
    match detail {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::from_utf8_lossy(body).into_owned(),
    }
}

/// Whether a 422 says that there is no such assistant. Only the beginning counts: what follows may
/// repeat the event. Measured: `Invalid assistant: 'x'. Must be either: - A valid assistant UUID, or
/// - One of the registered graphs: ...`
pub(super) fn is_unknown_assistant(detail: &str) -> bool {
    let detail = detail.trim_start().to_lowercase();
    let says = ["invalid assistant", "unknown assistant", "no such assistant", "assistant not found", "unknown graph"];
    let names = ["assistant ", "graph "];
    says.iter().any(|text| detail.starts_with(text))
        || (names.iter().any(|text| detail.starts_with(text))
            && detail.chars().take(200).collect::<String>().contains("not found"))
}

fn uuid(value: &Value) -> Option<Uuid> {
    value.as_str().and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests;
