//! The requests of LangGraph's API: URLs and bodies.
//!
//! It does not know when a request is made, nor how a response is read.

use reqwest::Url;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::{Delivery, LangGraphSpec, Ttl, run_input, trace::bounded};

/// The number of runs in a page. The thread is the delivery's own, so it has one run, unless somebody
/// else starts runs on it. A page may have whole inputs and outputs.
pub(super) const PAGE_SIZE: usize = 20;
/// The default page size of servers: a list of this length may be incomplete.
pub(super) const DEFAULT_PAGE_SIZE: usize = 10;
/// The most pages that are read. If there are more, no run is known and none is excluded.
pub(super) const MAX_PAGES: usize = 50;
/// The key that marks a run of the bridge, as opposed to one that somebody else starts on the claim thread. A
/// run inherits the metadata of its thread, so no thread may have it.
pub(super) const RUN_MARK: &str = "delivery_id";

/// The thread of a round: the delivery's own, or one derived from it.
pub(super) fn thread_id(delivery: &Delivery, round: u32) -> Uuid {
    let own = delivery.id.as_uuid();
    if round == 0 { own } else { Uuid::new_v5(&own, &round.to_be_bytes()) }
}

/// `base` with more path segments; its query stays.
pub(in crate::agents) fn url(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// The body of `POST /threads`.
pub(super) fn claim(delivery: &Delivery, round: u32, nonce: Uuid, ttl: Option<Ttl>) -> Value {
    let mut metadata = coordinates(delivery);
    metadata.insert("nonce".into(), nonce.to_string().into());
    if round > 0 {
        metadata.insert("round".into(), round.into());
        metadata.insert("round_of".into(), delivery.id.to_string().into());
    }
    let thread_id = thread_id(delivery, round).to_string();
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
        "input": run_input(delivery.body.as_ref(), &delivery.event),
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

/// The run's `config` with tags to search for in Studio and LangSmith: the event's type and its
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

/// Marks the run as this delivery's, in both fields that servers list: LangGraph lists `metadata`, aegra
/// lists `config`.
fn mark(run: &mut Value, delivery: &Delivery) {
    let mark = || Value::from(delivery.id.to_string());
    run["metadata"][RUN_MARK] = mark();
    // The server refuses a `config` that is no object.
    let Some(config) = run["config"].as_object_mut() else { return };
    if let Some(metadata) = config.entry("metadata").or_insert_with(|| json!({})).as_object_mut() {
        metadata.insert(RUN_MARK.into(), mark());
    }
}

/// The metadata of the thread and the run, by which `POST /threads/search` and Studio find them. The routing
/// file's metadata comes first, so that it replaces none of the bridge's own keys.
fn coordinates(delivery: &Delivery) -> Map<String, Value> {
    let mut map = delivery.settings.metadata.clone();
    // A run inherits the metadata of its thread, so the thread must not have the mark.
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
