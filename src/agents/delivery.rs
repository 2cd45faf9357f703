//! What an agent is given, and what it answers.
//!
//! Owns the types between the pipeline and the kinds of endpoint. It does not know how a request is made.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Failure, TraceContext};
use crate::event::{DeliveryId, Dialect, Event, Origin};

/// One event for one agent and one rule: everything that an attempt needs.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The identity, the same for every attempt, restart and replica.
    pub id: DeliveryId,
    /// The rule that sends it.
    pub rule: Arc<str>,
    /// The agent that it goes to.
    pub agent: Arc<str>,
    /// The event.
    pub event: Arc<Event>,
    /// The position of its record in Kafka.
    pub origin: Origin,
    /// The key of its record.
    pub key: Option<Bytes>,
    /// The event as it was published; for an agent that is no handler in the native form if it was published in another dialect.
    pub raw: Bytes,
    /// The trace that the event belongs to.
    pub trace: TraceContext,
    /// The rule's template, rendered for the event; `None` means the default body of the agent's kind.
    pub body: Option<Value>,
    /// The agent's own templates, rendered for the event; for a LangGraph server only.
    pub settings: RunSettings,
}

/// The event as agents get it: `value`, as it was published, or in the native form whatever other dialect was published.
pub(crate) fn published(event: &Event, value: impl FnOnce() -> Bytes) -> Bytes {
    match event.dialect() {
        Dialect::Native => value(),
        _ => event.encode().into(),
    }
}

/// The input of a LangGraph run: what the rule's template made, or an input for typed graphs, which read `event`, and for
/// chat graphs, which read `messages`.
pub(crate) fn run_input(rendered: Option<&Value>, event: &Event) -> Value {
    let default = || {
        let event = event.document();
        json!({"event": event, "messages": [{"role": "user", "content": event.to_string()}]})
    };
    rendered.cloned().unwrap_or_else(default)
}

/// The body for an HTTP endpoint: what the rule's template made, or the event as it was [`published`].
pub(crate) fn request_body(rendered: Option<&Value>, raw: &Bytes) -> Bytes {
    rendered.map_or_else(|| raw.clone(), |value| Bytes::from(value.to_string()))
}

/// The settings of a LangGraph run, rendered for one event.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RunSettings {
    /// The run's `config` if it has templates; otherwise it is part of the agent's spec.
    pub config: Option<Value>,
    /// The run's `context`, likewise.
    pub context: Option<Value>,
    /// Metadata of the run and of its thread besides the bridge's own.
    pub metadata: Map<String, Value>,
}

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The agent has accepted the event.
    Accepted {
        /// The run, if the agent names one.
        run_id: Option<String>,
        /// It was found on the server: an earlier request, whose answer was lost, was accepted.
        found: bool,
        /// The status of the answer.
        status: Option<u16>,
    },
    /// An earlier request may still arrive, or another process owns the claim: release the slot
    /// and attempt again after this time, with the same session. Not a failure.
    Wait(Duration),
    /// After [`Session::end`](super::agent::Session::end): there is no run, and none will come.
    Ended,
    /// Not accepted, as far as is known.
    Failed(Failure),
}
