//! One delivery, from its first attempt to its end.
//!
//! Owns the order of writes: the agent's answer, then the ledger, then its flush, then the end is
//! reported; and a dead letter is acknowledged by the broker before the ledger calls it one.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{counter, histogram};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::{
    Shared,
    breaker::Report,
    flight::{Flight, Received},
    now_ms,
    render::Failed,
    retry::{GivenUp, Waits, given_up},
    runtime::AgentRuntime,
};
use crate::{
    agents::{Answer, Class, Delivery, Endpoint, Failure, RetrySpec, RunSettings},
    dedup::{LedgerError, Status},
    event::{DeliveryId, Dialect, Event},
    kafka::DeadLetter,
    routing::{Rule, TemplateError},
    telemetry,
};

/// How often a delivery that waits at the door looks at its age.
const AGE_CHECK: Duration = Duration::from_secs(30);

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The agent accepted it.
    Delivered,
    /// It went to the dead-letter topic, for this reason.
    Dead(&'static str),
    /// The bridge is stopping; the event will be read again.
    Abandoned,
}

/// Why a delivery is a dead letter.
pub(super) struct Verdict {
    pub(super) reason: &'static str,
    pub(super) error: String,
    pub(super) status: Option<u16>,
}

/// Waits, unless the bridge stops first.
async fn pause(shared: &Shared, wait: Duration) -> bool {
    tokio::select! {
        biased;
        () = shared.stop.stopping() => false,
        () = sleep(wait) => true,
    }
}

/// Takes one delivery of `flight` to its end and writes the end down, durably.
pub(super) async fn deliver(
    shared: &Shared,
    flight: &Flight,
    rule: &Arc<str>,
    agent: &Arc<str>,
) -> Result<Ended, LedgerError> {
    let Some((rule_found, runtime)) = shared
        .routing
        .rule(rule)
        .filter(|found| found.agents().iter().any(|name| name == agent))
        .zip(shared.agents.get(agent))
    else {
        let error = format!(
            "rule `{rule}` no longer sends to agent `{agent}`, and this event was half delivered by it: \
             if the agent still has to run, publish the event under a new event_id for a rule that names this agent alone"
        );
        return bury(shared, flight, rule, agent, Verdict { reason: "plan_gone", error, status: None }).await;
    };
    match attempts(shared, flight, rule_found, runtime).await? {
        Attempted::Accepted => {
            flight.change(&shared.ledger, |record| record.finish(rule, agent, Status::Delivered))?;
            shared.ledger.durable().await?;
            Ok(Ended::Delivered)
        }
        Attempted::Refused(verdict) => bury(shared, flight, rule, agent, verdict).await,
        Attempted::Abandoned => Ok(Ended::Abandoned),
    }
}

enum Attempted {
    Accepted,
    Refused(Verdict),
    Abandoned,
}

async fn attempts(
    shared: &Shared,
    flight: &Flight,
    rule: &Arc<Rule>,
    runtime: &AgentRuntime,
) -> Result<Attempted, LedgerError> {
    let (name, agent) = (rule.name(), &runtime.spec.name);
    let mut waits = Waits::after(&runtime.spec.retry, flight.read(|record| record.attempts(name, agent)));
    let mut session = runtime.agent.session();
    let mut tried_since = None;
    let mut ending: Option<(GivenUp, Option<Failure>)> = None;
    loop {
        let first = flight.read(|record| record.first_attempt_ms(name, agent));
        let permit = tokio::select! {
            biased;
            () = shared.stop.stopping() => return Ok(Attempted::Abandoned),
            permit = runtime.door.enter() => permit,
            // What was never attempted does not age: a backlog behind a wrong key waits for the right one.
            () = until_too_late(&runtime.spec.retry, first, tried_since), if ending.is_none() => {
                let failures = flight.read(|record| record.attempts(name, agent));
                return Ok(Attempted::Refused(while_held(runtime, failures, delivery_id(flight, rule, runtime))));
            }
        };
        // Composed for the attempt and dropped with it: what waits keeps no body in memory.
        let delivery = match compose(shared, flight, rule, runtime).await {
            Ok(delivery) => delivery,
            Err(verdict) => return Ok(Attempted::Refused(verdict)),
        };
        let started = Instant::now();
        let tried_since = *tried_since.get_or_insert(started);
        let answer = runtime.agent.attempt(&mut session, &delivery).await;
        histogram!(telemetry::ATTEMPT_DURATION, "agent" => agent.to_string()).record(started.elapsed());
        let claim = delivery.id;
        drop(delivery);

        let failure = match answer {
            Answer::Accepted { run_id, found, status } => {
                runtime.door.report(&Report::Works, None, "");
                runtime.accepted();
                attempted(agent, accepted_label(found, status));
                accepted(flight, agent);
                debug!(event_id = flight.event.id(), rule = %name, %agent, run_id, found, "delivered");
                return Ok(Attempted::Accepted);
            }
            Answer::Wait(wait) => {
                runtime.door.report(&Report::Undecided, None, "");
                drop(permit);
                attempted(agent, "settle");
                let (failures, first) = note(shared, flight, name, agent, Counts::No).await?;
                if let Some(end) = given_up(&runtime.spec.retry, failures, first, now_ms(), tried_since.elapsed()) {
                    session.end();
                    ending.get_or_insert((end, None));
                }
                if !pause(shared, wait).await {
                    return Ok(Attempted::Abandoned);
                }
                continue;
            }
            Answer::Ended => {
                runtime.door.report(&Report::Undecided, None, "");
                attempted(agent, "settle");
                let failures = flight.read(|record| record.attempts(name, agent));
                return Ok(Attempted::Refused(settled_end(ending, failures)));
            }
            Answer::Failed(failure) => failure,
        };
        attempted(agent, failure.kind);
        runtime.failed(&failure.reason);
        let verdict = blame(runtime, &flight.event, &failure);
        drop(permit);
        if let Some(verdict) = verdict {
            return Ok(Attempted::Refused(verdict));
        }
        // Only what may be the delivery's own fault counts towards `max_attempts`: a wrong key must
        // not dead-letter a backlog.
        let counts = if failure.class == Class::Ambiguous { Counts::Yes } else { Counts::No };
        let (failures, first) = note(shared, flight, name, agent, counts).await?;
        let end = given_up(&runtime.spec.retry, failures, first, now_ms(), tried_since.elapsed())
            .filter(|end| counts == Counts::Yes || *end == GivenUp::TooLate);
        let may_have_run = matches!(runtime.spec.endpoint, Endpoint::LangGraph(_));
        let wait = waits.next().max(failure.retry_after.unwrap_or_default());
        if let Some(end) = end {
            if !(may_have_run && failure.class == Class::Ambiguous) {
                return Ok(Attempted::Refused(end_of(end, failures, &failure, may_have_run.then_some(claim))));
            }
            // A run that may exist is looked for, once it can no longer arrive, before it is given up.
            session.end();
            ending = Some((end, Some(failure.clone())));
        }
        warn!(
            event_id = flight.event.id(), rule = %name, %agent, failures, class = failure.class.as_str(),
            reason = failure.reason, again_in_ms = wait.as_millis(), "attempt failed: it is tried again"
        );
        if !pause(shared, wait).await {
            return Ok(Attempted::Abandoned);
        }
    }
}

/// Resolves when a delivery that was attempted before has waited at the door for too long.
async fn until_too_late(spec: &RetrySpec, first_attempt_ms: Option<u64>, tried_since: Option<Instant>) {
    let (Some(first), Some(tried_since)) = (first_attempt_ms, tried_since) else {
        return std::future::pending().await;
    };
    loop {
        if given_up(spec, 0, Some(first), now_ms(), tried_since.elapsed()).is_some() {
            return;
        }
        sleep(AGE_CHECK).await;
    }
}

/// What is said of a delivery that grew too old while its agent was held.
fn while_held(runtime: &AgentRuntime, failures: u32, claim: DeliveryId) -> Verdict {
    let failure = Failure {
        class: Class::AgentFault,
        status: None,
        retry_after: None,
        kind: "held",
        reason: runtime.status().last_failure.unwrap_or_else(|| "the agent was held".to_owned()),
    };
    let claim = matches!(runtime.spec.endpoint, Endpoint::LangGraph(_)).then_some(claim);
    end_of(GivenUp::TooLate, failures, &failure, claim)
}

/// What is said of a LangGraph delivery that is given up after everything has settled.
fn settled_end(ending: Option<(GivenUp, Option<Failure>)>, failures: u32) -> Verdict {
    let (end, failure) = ending.unwrap_or((GivenUp::TooLate, None));
    let last = failure.as_ref().map_or("no answer that says more", |failure| failure.reason.as_str());
    Verdict {
        reason: end.reason(),
        error: format!("given up: {} (there is no run of it); the last answer: {last}", end.says(failures)),
        status: failure.as_ref().and_then(|failure| failure.status),
    }
}

fn delivery_id(flight: &Flight, rule: &Rule, runtime: &AgentRuntime) -> DeliveryId {
    DeliveryId::new(rule.name(), &runtime.spec.name, flight.event.id(), 0)
}

/// What is said of a delivery that is given up. `claim` names the LangGraph thread where an earlier
/// attempt may have left a run.
fn end_of(end: GivenUp, failures: u32, failure: &Failure, claim: Option<DeliveryId>) -> Verdict {
    let look = claim.map_or_else(String::new, |id| {
        format!(
            " (look for a run in thread {id} before you publish this event again: an earlier attempt may have left one)"
        )
    });
    Verdict {
        reason: end.reason(),
        error: format!("given up: {}{look}; the last answer: {}", end.says(failures), failure.reason),
        status: failure.status,
    }
}

/// Tells the agent's breaker, and decides whether the event itself is to blame.
fn blame(runtime: &AgentRuntime, event: &Event, failure: &Failure) -> Option<Verdict> {
    let report = match failure.class {
        Class::Accepted | Class::Busy => Report::Works,
        Class::Ambiguous => Report::Failed,
        Class::AgentFault if passing(failure) => Report::Failed,
        Class::AgentFault => Report::Broken,
        Class::EventFault => Report::Refused { event_id: event.id(), answer: failure.status.unwrap_or_default() },
    };
    // What one event is told must not silence the agent for the others.
    let for_all = matches!(failure.class, Class::Ambiguous | Class::AgentFault);
    let held = runtime.door.report(&report, failure.retry_after.filter(|_| for_all), &failure.reason);
    (failure.class == Class::EventFault && !held).then(|| Verdict {
        reason: "refused",
        error: failure.reason.clone(),
        status: failure.status,
    })
}

/// Whether the agent may be well again by itself: it was slow, overloaded or broken on its way, rather
/// than asked with a wrong key, at a wrong address or where nobody listens.
fn passing(failure: &Failure) -> bool {
    match failure.status {
        Some(status) => matches!(status, 408 | 425 | 429 | 500..),
        None => matches!(failure.kind, "timeout" | "io" | "unreadable" | "claim_invisible" | "claim_unsettled"),
    }
}

/// What the templates of a rule and of its agent make of an event. One that cannot be filled in is the
/// event's end. What depends on the event is rendered beside the runtime, never on its threads.
async fn render(
    shared: &Shared,
    flight: &Flight,
    rule: &Arc<Rule>,
    runtime: &AgentRuntime,
) -> Result<(Option<Value>, RunSettings), Verdict> {
    let is_langgraph = matches!(runtime.spec.endpoint, Endpoint::LangGraph(_));
    let agent = Arc::clone(&runtime.spec.name);
    let depends = if is_langgraph {
        rule.has_input_template() || shared.routing.has_templates(&agent)
    } else {
        rule.has_body_template()
    };
    let (routing, rule, event) = (Arc::clone(&shared.routing), Arc::clone(rule), Arc::clone(&flight.event));
    let render = move || -> Result<_, TemplateError> {
        if is_langgraph {
            Ok((rule.render_input(&event)?, routing.render_settings(rule.name(), &agent, &event)?))
        } else {
            Ok((rule.render_body(&event)?, RunSettings::default()))
        }
    };
    let rendered = if depends {
        let _turn = runtime.rendering.lock().await;
        shared.renderer.run(render).await
    } else {
        Ok(render())
    };
    let error = match rendered {
        Ok(Ok(rendered)) => return Ok(rendered),
        Ok(Err(error)) => error.to_string(),
        Err(Failed) => {
            "the template engine failed at this event: this is a defect of the bridge, report it with the rule".into()
        }
    };
    Err(Verdict { reason: "template", error, status: None })
}

/// The delivery as the agent gets it.
async fn compose(
    shared: &Shared,
    flight: &Flight,
    rule: &Arc<Rule>,
    runtime: &AgentRuntime,
) -> Result<Delivery, Verdict> {
    let event = &flight.event;
    let (body, settings) = render(shared, flight, rule, runtime).await?;
    Ok(Delivery {
        id: delivery_id(flight, rule, runtime),
        rule: Arc::clone(rule.name()),
        agent: Arc::clone(&runtime.spec.name),
        event: Arc::clone(event),
        origin: flight.received.origin.clone(),
        // An agent reads one dialect, whatever the publishers write.
        raw: match event.dialect() {
            Dialect::Native => flight.received.value.clone().unwrap_or_default(),
            _ => event.encode().into(),
        },
        traceparent: traceparent(flight).map(Into::into),
        body,
        settings,
    })
}

/// The trace that the record belongs to; CloudEvents have it as an extension attribute.
fn traceparent(flight: &Flight) -> Option<&str> {
    let metadata = &flight.event.document()["metadata"];
    flight.received.header("traceparent").or_else(|| metadata["traceparent"].as_str())
}

fn attempted(agent: &str, result: &'static str) {
    counter!(telemetry::ATTEMPTS, "agent" => agent.to_owned(), "result" => result).increment(1);
}

fn accepted_label(found: bool, status: Option<u16>) -> &'static str {
    match status {
        _ if found => "found",
        Some(200..300) | None => "2xx",
        Some(_) => "classified",
    }
}

fn accepted(flight: &Flight, agent: &str) {
    if let Some(appended) = flight.received.timestamp_ms {
        let latency = Duration::from_millis(now_ms().saturating_sub(appended));
        histogram!(telemetry::ACCEPTANCE_LATENCY, "agent" => agent.to_owned()).record(latency);
    }
}

/// Whether an attempt counts towards `max_attempts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    Yes,
    No,
}

/// Writes down that an attempt was made without an end. The first is waited for: `give_up_after`
/// begins there, also for the next process.
async fn note(
    shared: &Shared,
    flight: &Flight,
    rule: &str,
    agent: &str,
    counts: Counts,
) -> Result<(u32, Option<u64>), LedgerError> {
    let now = now_ms();
    let is_first = flight.read(|record| record.first_attempt_ms(rule, agent).is_none());
    if is_first || counts == Counts::Yes {
        flight.change(&shared.ledger, |record| match counts {
            Counts::Yes => record.note_failure(rule, agent, now),
            Counts::No => record.note_attempt(rule, agent, now),
        })?;
    }
    if is_first {
        shared.ledger.durable().await?;
    }
    Ok(flight.read(|record| (record.attempts(rule, agent), record.first_attempt_ms(rule, agent))))
}

/// Writes a dead letter for one delivery, and then the ledger.
async fn bury(
    shared: &Shared,
    flight: &Flight,
    rule: &Arc<str>,
    agent: &Arc<str>,
    verdict: Verdict,
) -> Result<Ended, LedgerError> {
    let attempts = flight.read(|record| record.attempts(rule, agent));
    let letter = DeadLetter {
        rule: Some(rule.to_string()),
        agent: Some(agent.to_string()),
        attempts,
        status: verdict.status,
        ..letter(&flight.received, verdict.reason, verdict.error)
    };
    if shared.dead_letters.deliver(&letter, shared.stop.stopping()).await.is_err() {
        return Ok(Ended::Abandoned);
    }
    warn!(
        event_id = flight.event.id(), origin = %letter.origin, %rule, %agent, reason = verdict.reason,
        error = letter.error, "dead letter"
    );
    flight.change(&shared.ledger, |record| record.finish(rule, agent, Status::Dead))?;
    shared.ledger.durable().await?;
    Ok(Ended::Dead(verdict.reason))
}

/// A dead letter for a whole record.
pub(super) fn letter(received: &Received, reason: &'static str, error: String) -> DeadLetter {
    DeadLetter {
        origin: received.origin.clone(),
        key: received.key.as_deref().map(<[u8]>::to_vec),
        value: received.value.as_deref().map(<[u8]>::to_vec),
        headers: received.headers.clone(),
        reason,
        error,
        rule: None,
        agent: None,
        attempts: 0,
        status: None,
        time: Timestamp::now(),
    }
}
