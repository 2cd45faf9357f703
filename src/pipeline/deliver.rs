//! One delivery, from its first attempt to its end.
//!
//! Owns the order of writes: the agent's answer, then the ledger, then its flush, then the end is
//! reported; and a dead letter is acknowledged by the broker before the ledger calls it one.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{counter, histogram};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::{
    Shared,
    breaker::Report,
    flight::{Flight, Received},
    milliseconds, now_ms,
    render::Failed,
    retry::{GivenUp, Waits, given_up, too_late_in, too_often},
    runtime::AgentRuntime,
    verdict::{self, Ending, Verdict},
};
use crate::{
    agents::{Answer, Class, Delivery, Endpoint, Failure, RetrySpec, RunSettings, TraceContext},
    dedup::{LedgerError, Status},
    event::{DeliveryId, Dialect, Event},
    kafka::DeadLetter,
    routing::{Rule, TemplateError},
    telemetry,
};

/// How often a delivery that waits at the door looks at its age.
const AGE_CHECK: Duration = Duration::from_secs(30);
/// An answer that says to wait is not asked for again sooner, or than the initial wait where that is shorter.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);

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

/// Waits, unless the bridge stops first.
async fn pause(shared: &Shared, wait: Duration) -> bool {
    tokio::select! {
        biased;
        () = shared.stop.stopping() => false,
        () = sleep(wait) => true,
    }
}

/// Takes one delivery of `flight` to its end and writes the end down, durably. `number` is its place in
/// the order of arrival.
pub(super) async fn deliver(
    shared: &Shared,
    flight: &Flight,
    rule: &Arc<str>,
    agent: &Arc<str>,
    number: u64,
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
    match attempts(shared, flight, rule_found, runtime, number).await? {
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
    number: u64,
) -> Result<Attempted, LedgerError> {
    let (name, agent, spec) = (rule.name(), &runtime.spec.name, &runtime.spec);
    let counted = || flight.read(|record| record.attempts(name, agent));
    let mut waits = Waits::after(&spec.retry, counted());
    let mut session = runtime.agent.session();
    let claim = delivery_id(flight, rule, runtime);
    // The thread, where an earlier attempt may have left a run.
    let thread = matches!(spec.endpoint, Endpoint::LangGraph(_)).then_some(claim);
    let mut tried_since = None;
    let mut first_try = Some(number);
    let mut refused_at: Option<Instant> = None;
    let mut ending: Option<Ending> = None;
    if thread.is_some() && too_often(&spec.retry, counted()) {
        // An earlier process made the attempts that there may be: what remains is to look.
        session.end();
        ending = Some(Ending::new(GivenUp::TooOften, None));
    }
    loop {
        let first = flight.read(|record| record.first_attempt_ms(name, agent));
        let looking_until = ending.as_ref().map(|ending| ending.patience_ends(spec));
        let permit = tokio::select! {
            biased;
            () = shared.stop.stopping() => return Ok(Attempted::Abandoned),
            permit = runtime.door.enter(first_try) => permit,
            // What was never attempted does not age: a backlog behind a wrong key waits for the right one.
            () = until_too_late(&spec.retry, first, tried_since, looking_until) => {
                let last = runtime.last_failure();
                let last = last.as_ref().map_or(("the agent was held", None), |(reason, status)| (&**reason, *status));
                return Ok(Attempted::Refused(verdict::given_up(GivenUp::TooLate, counted(), last, thread)));
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
        drop(delivery);
        let attempt = flight.tried(name, agent);

        let failure = match answer {
            Answer::Accepted { run_id, found, status } => {
                runtime.door.report(&Report::Works { began: started }, None, "");
                runtime.accepted();
                attempted(agent, accepted_label(found, status));
                accepted(flight, agent);
                let event_id = flight.event.id();
                // How the run is found on its server.
                if let Some(thread_id) = thread {
                    info!(event_id, rule = %name, %agent, %thread_id, run_id, attempt, found, "delivered");
                } else {
                    debug!(event_id, rule = %name, %agent, attempt, "delivered");
                }
                return Ok(Attempted::Accepted);
            }
            Answer::Wait(wait) => {
                runtime.door.report(&Report::Undecided, None, "");
                drop(permit);
                attempted(agent, "settle");
                let (failures, first) = note(shared, flight, name, agent, Counts::No).await?;
                if let Some(end) = given_up(&spec.retry, None, first, now_ms(), tried_since.elapsed()) {
                    session.end();
                    let ending = ending.get_or_insert_with(|| Ending::new(end, None));
                    if ending.patience_ends(spec) <= Instant::now() {
                        let last = ("an earlier request may still be on its way", None);
                        return Ok(Attempted::Refused(verdict::given_up(end, failures, last, thread)));
                    }
                }
                if !pause(shared, wait.max(spec.retry.initial.min(SHORTEST_WAIT))).await {
                    return Ok(Attempted::Abandoned);
                }
                continue;
            }
            Answer::Ended => {
                runtime.door.report(&Report::Undecided, None, "");
                attempted(agent, "settle");
                return Ok(Attempted::Refused(Ending::no_run(ending, counted())));
            }
            Answer::Failed(failure) => failure,
        };
        first_try = None;
        attempted(agent, failure.kind);
        runtime.failed(&failure.reason, failure.status);
        let blamed = blame(runtime, &flight.event, &failure, started, refused_at);
        drop(permit);
        match blamed {
            Blamed::Event(verdict) => return Ok(Attempted::Refused(verdict)),
            Blamed::AgentForRefusing => _ = refused_at.get_or_insert_with(Instant::now),
            Blamed::Agent => {}
        }
        // Only what may be the delivery's own fault counts towards `max_attempts`: a wrong key must
        // not dead-letter a backlog.
        let counts = if failure.class == Class::Ambiguous { Counts::Yes } else { Counts::No };
        let (failures, first) = note(shared, flight, name, agent, counts).await?;
        let counted = (counts == Counts::Yes).then_some(failures);
        let wait = waits.next().max(failure.retry_after.unwrap_or_default());
        if let Some(end) = given_up(&spec.retry, counted, first, now_ms(), tried_since.elapsed()) {
            let too_late = given_up(&spec.retry, None, first, now_ms(), tried_since.elapsed()).is_some();
            let looked = ending.as_ref().is_some_and(|ending| ending.patience_ends(spec) <= Instant::now());
            let may_have_run = thread.is_some() && failure.class == Class::Ambiguous;
            if !may_have_run || (too_late && looked) {
                let last = (failure.reason.as_str(), failure.status);
                return Ok(Attempted::Refused(verdict::given_up(end, failures, last, thread)));
            }
            // A run that may exist is looked for, once it can no longer arrive, before it is given up.
            session.end();
            ending.get_or_insert_with(|| Ending::new(end, Some(failure.clone())));
        }
        warn!(
            event_id = flight.event.id(), rule = %name, %agent, attempt, counted = failures,
            class = failure.class.as_str(), status = failure.status, url = %runtime.url, reason = failure.reason,
            again_in_ms = milliseconds(wait), "attempt failed: it is tried again"
        );
        if !pause(shared, wait).await {
            return Ok(Attempted::Abandoned);
        }
    }
}

/// Resolves when a delivery that was attempted before has waited at the door for too long; not before
/// `not_before`.
async fn until_too_late(
    spec: &RetrySpec,
    first_attempt_ms: Option<u64>,
    tried_since: Option<Instant>,
    not_before: Option<Instant>,
) {
    let Some(tried_since) = tried_since else { return std::future::pending().await };
    loop {
        let Some(left) = too_late_in(spec, first_attempt_ms, now_ms(), tried_since.elapsed()) else {
            return std::future::pending().await;
        };
        let patience = not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        let left = left.max(patience);
        if left.is_zero() {
            return;
        }
        // The clock may be set meanwhile.
        sleep(left.min(AGE_CHECK)).await;
    }
}

fn delivery_id(flight: &Flight, rule: &Rule, runtime: &AgentRuntime) -> DeliveryId {
    DeliveryId::new(rule.name(), &runtime.spec.name, flight.event.id(), 0)
}

/// Whose fault a failure is.
enum Blamed {
    /// The event's: it is a dead letter.
    Event(Verdict),
    /// The agent's, which refuses every event alike.
    AgentForRefusing,
    Agent,
}

/// Tells the agent's breaker, and decides whether the event itself is to blame. `refused_at` is when an
/// agent that was to blame refused it first.
fn blame(
    runtime: &AgentRuntime,
    event: &Event,
    failure: &Failure,
    began: Instant,
    refused_at: Option<Instant>,
) -> Blamed {
    let report = match failure.class {
        Class::Accepted | Class::Busy => Report::Works { began },
        Class::Ambiguous => Report::Failed,
        Class::AgentFault if passing(failure) => Report::Failed,
        Class::AgentFault => Report::Broken,
        Class::EventFault => {
            Report::Refused { event_id: event.id(), answer: failure.status.unwrap_or_default(), before: refused_at }
        }
    };
    // What one event is told must not silence the agent for the others.
    let for_all = matches!(failure.class, Class::Ambiguous | Class::AgentFault);
    let held = runtime.door.report(&report, failure.retry_after.filter(|_| for_all), &failure.reason);
    match failure.class {
        Class::EventFault if held => Blamed::AgentForRefusing,
        Class::EventFault => {
            Blamed::Event(Verdict { reason: "refused", error: failure.reason.clone(), status: failure.status })
        }
        _ => Blamed::Agent,
    }
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
            Dialect::Native => flight.received.text(),
            _ => event.encode().into(),
        },
        trace: trace(flight),
        body,
        settings,
    })
}

/// The trace that the record belongs to, by its headers in any case; CloudEvents have it as extension
/// attributes.
fn trace(flight: &Flight) -> TraceContext {
    let metadata = &flight.event.document()["metadata"];
    let header = |name: &str| -> Vec<&str> {
        let values = flight.received.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        // A broken value is no value, and no valid one hides behind it.
        values.filter_map(|(_, value)| Some(std::str::from_utf8(value.as_deref()?).unwrap_or_default())).collect()
    };
    let attributes = TraceContext::read(metadata["traceparent"].as_str(), metadata["tracestate"].as_str(), None);
    TraceContext::read(header("traceparent"), header("tracestate"), header("baggage")).or(attributes)
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

/// Writes down that an attempt was made without an end, and how many there were. The first is waited
/// for: `give_up_after` begins there, also for the next process.
async fn note(
    shared: &Shared,
    flight: &Flight,
    rule: &str,
    agent: &str,
    counts: Counts,
) -> Result<(u32, Option<u64>), LedgerError> {
    let now = now_ms();
    let is_first = flight.read(|record| record.first_attempt_ms(rule, agent).is_none());
    flight.change(&shared.ledger, |record| match counts {
        Counts::Yes => record.note_failure(rule, agent, now),
        Counts::No => record.note_attempt(rule, agent, now),
    })?;
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
    let attempts = flight.read(|record| record.tried(rule, agent));
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
        event_id = flight.event.id(), origin = %letter.origin, %rule, %agent, attempts, status = verdict.status,
        reason = verdict.reason, error = letter.error, "dead letter"
    );
    flight.change(&shared.ledger, |record| record.finish(rule, agent, Status::Dead))?;
    shared.ledger.durable().await?;
    Ok(Ended::Dead(verdict.reason))
}

/// A dead letter for a whole record.
pub(super) fn letter(received: &Received, reason: &'static str, error: String) -> DeadLetter {
    DeadLetter {
        origin: received.origin.clone(),
        key: received.key.clone(),
        value: received.value.clone(),
        headers: Arc::clone(&received.headers),
        reason,
        error,
        rule: None,
        agent: None,
        attempts: 0,
        status: None,
        time: Timestamp::now(),
    }
}
