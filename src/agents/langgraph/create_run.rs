//! The request that creates the run.

use std::{collections::BTreeMap, sync::Arc};

use reqwest::header::{HeaderMap, HeaderName};

use super::{
    api,
    claim::Observed,
    response,
    server::{Requests, StepResult},
};
use crate::agents::{
    Class, Delivery, Observation, Request, classify,
    gate::Gate,
    wire::{Reply, TEXT_LIMIT},
};

/// Creates the run, if its first byte passes the gate.
pub(super) async fn create_run(requests: &Requests<'_>, gate: Arc<Gate>) -> StepResult {
    let thread = requests.delivery.id.as_uuid();
    let body = api::run(requests.delivery, &requests.server.spec);
    let url = api::url(&requests.server.spec.url, &["threads", &thread.to_string(), "runs"]);
    let trace = trace(requests.delivery);
    let answer = requests.send_to(url, Some((&body, Arc::clone(&gate))), TEXT_LIMIT, trace).await;
    let late = answer.is_err() && gate.too_late();
    let sent_at = gate.revoke();
    let (observation, mut failure) = match answer {
        Ok(reply) => {
            if matches!(reply.status, 200..=299)
                && let Some(run_id) = response::created_run(&reply.body, thread)
            {
                *requests.server.traits.example.lock() = Some(thread);
                return (Observed::Created(Some(run_id)), None);
            }
            let observation = observation(&reply);
            (observation, requests.refusal(Request::Run, observation, &reply))
        }
        Err(_) if late => return (Observed::TooLate, None),
        Err(lost) => (lost.observation, requests.no_answer(Request::Run, &lost)),
    };
    let observed = match (observation, sent_at) {
        (Observation::Status(409), _) => Observed::Conflict,
        // Whether a run may exist is decided by the common table, not by the agent's `classify`.
        (observation, Some(sent_at)) if classify(Request::Run, observation, &BTreeMap::new()) == Class::Ambiguous => {
            Observed::Ambiguous { sent_at }
        }
        _ => Observed::Refused,
    };
    if matches!(observed, Observed::Ambiguous { .. }) {
        // The run may exist, whatever the agent's `classify` says: the event was not refused.
        failure.class = Class::Ambiguous;
    }
    (observed, Some(failure))
}

/// What a response that shows no created run means.
fn observation(reply: &Reply) -> Observation {
    match reply.status {
        200..=299 => Observation::Unreadable,
        422 if response::is_busy(&response::detail(&reply.body)) => Observation::Status(409),
        404 | 422 if response::is_unknown_assistant(&response::detail(&reply.body)) => Observation::UnknownAssistant,
        status => Observation::Status(status),
    }
}

/// The headers of the trace. The claim has none: it must not fail because of them.
fn trace(delivery: &Delivery) -> HeaderMap {
    let headers = delivery.trace.headers();
    headers.filter_map(|(name, value)| Some((HeaderName::from_static(name), value.parse().ok()?))).collect()
}
