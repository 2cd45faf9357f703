//! What is said to a LangGraph server.
//!
//! Owns the shapes of the run API's requests. It knows nothing of when a request is made, nor of
//! answers: answers.rs reads them.

use reqwest::Url;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::{Delivery, LangGraphSpec, Ttl, trace::bounded};

/// How many runs are asked for at a time. The thread is the delivery's own, so one run is all there
/// is, unless somebody else runs things on it. A page may hold whole inputs and outputs.
pub(super) const PAGE: usize = 20;
/// How many runs servers show when nothing else is asked for: a list that long may go on.
pub(super) const DEFAULT_PAGE: usize = 10;
/// How many pages are read. When there are more, nothing is known.
pub(super) const PAGES: usize = 50;
/// The key that tells a run of the bridge's from one that somebody else starts on the claim thread. A
/// run inherits the metadata of its thread, so no thread may carry it.
pub(super) const RUN_MARK: &str = "delivery_id";

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
pub(super) fn claim(delivery: &Delivery, turn: u32, nonce: Uuid, ttl: Option<Ttl>) -> Value {
    let mut metadata = coordinates(delivery);
    metadata.insert("nonce".into(), nonce.to_string().into());
    if turn > 0 {
        metadata.insert("turn".into(), turn.into());
        metadata.insert("turn_of".into(), delivery.id.to_string().into());
    }
    let thread_id = thread_id(delivery, turn).to_string();
    let mut body = json!({"thread_id": thread_id, "if_exists": "raise", "metadata": metadata});
    if let Some(ttl) = ttl {
        body["ttl"] = json!({"strategy": ttl.strategy.as_str(), "ttl": ttl.after.as_secs_f64() / 60.0});
    }
    body
}

/// The body of `POST /threads/{id}/runs`.
pub(super) fn run(delivery: &Delivery, spec: &LangGraphSpec) -> Value {
    let config = delivery.settings.config.as_ref().or(spec.config.as_ref());
    let mut body = json!({
        "assistant_id": spec.assistant,
        "input": delivery.body.clone().unwrap_or_else(|| default_input(delivery)),
        "multitask_strategy": "reject",
        "metadata": coordinates(delivery),
        "config": tagged(config.cloned().unwrap_or_else(|| json!({})), delivery),
    });
    if let Some(context) = delivery.settings.context.as_ref().or(spec.context.as_ref()) {
        body["context"] = context.clone();
    }
    if let Some(project) = &spec.tracer_project {
        body["langsmith_tracer"] = json!({"project_name": project});
    }
    mark(&mut body, delivery);
    body
}

/// The run's `config` with the tags that Studio and LangSmith search: the type of the event and the
/// workflow, after those of the routing file.
fn tagged(mut config: Value, delivery: &Delivery) -> Value {
    let event = &delivery.event;
    if let Some(Value::Array(tags)) = config.as_object_mut().map(|map| map.entry("tags").or_insert_with(|| json!([]))) {
        for tag in [event.event_type().as_str(), event.workflow_id()] {
            let tag = Value::from(bounded(tag));
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
    }
    config
}

/// Makes the run known as this delivery's, in both places where servers show what a run was given:
/// LangGraph lists `metadata`, aegra lists `config`.
fn mark(run: &mut Value, delivery: &Delivery) {
    let mark = || Value::from(delivery.id.to_string());
    run["metadata"][RUN_MARK] = mark();
    // What is no object is for the server to refuse.
    let Some(config) = run["config"].as_object_mut() else { return };
    if let Some(metadata) = config.entry("metadata").or_insert_with(|| json!({})).as_object_mut() {
        metadata.insert(RUN_MARK.into(), mark());
    }
}

/// Serves typed graphs, which read `event`, and chat graphs, which read `messages`.
fn default_input(delivery: &Delivery) -> Value {
    let event = delivery.event.document();
    json!({"event": event, "messages": [{"role": "user", "content": event.to_string()}]})
}

/// Which event this is, on the thread and on the run: what `POST /threads/search` and Studio find it by. What the routing
/// file adds comes first, so that nothing replaces the bridge's own keys.
fn coordinates(delivery: &Delivery) -> Map<String, Value> {
    let mut map = delivery.settings.metadata.clone();
    // A run inherits the metadata of its thread, so this must never get there.
    map.remove(RUN_MARK);
    let event = &delivery.event;
    map.insert("event_id".into(), event.id().into());
    map.insert("event_type".into(), bounded(event.event_type().as_str()).into());
    map.insert("workflow_id".into(), bounded(event.workflow_id()).into());
    map.insert("workflow_run_id".into(), bounded(event.workflow_run_id()).into());
    map.insert("rule".into(), (&*delivery.rule).into());
    map.insert("agent".into(), (&*delivery.agent).into());
    map.insert("kafka_topic".into(), (&*delivery.origin.topic).into());
    map.insert("kafka_partition".into(), delivery.origin.partition.into());
    map.insert("kafka_offset".into(), delivery.origin.offset.into());
    if let Some(traceparent) = delivery.trace.traceparent() {
        map.insert("traceparent".into(), traceparent.into());
    }
    map
}

#[cfg(test)]
mod tests;
