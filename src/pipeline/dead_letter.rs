//! Writes a dead letter: the one place that does.
//!
//! Invariant: the broker has acknowledged the dead letter, or the program that gets it instead has it, before anything calls
//! it written.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    cause::Cause, context::PipelineContext, event_state::Received, outcome_log::Subject, wait::dead_letter_stopped,
};
use crate::{
    event::recorded_ms,
    kafka::{DeadLetter, Ownership},
};

/// Writes a dead letter and logs it; a program that gets it instead logs it itself. False when the pipeline shut down, or the partition was given up, before the broker
/// acknowledged it. The caller holds a guard of the partition.
pub(super) async fn dead_letter(
    context: &PipelineContext,
    received: &Received,
    ownership: &Ownership,
    cause: &Cause,
    subject: Subject<'_>,
) -> bool {
    let (rule, agent) = subject.delivery.unzip();
    let letter = DeadLetter {
        origin: received.origin.clone(),
        key: received.key.clone(),
        value: received.value.clone(),
        headers: Arc::clone(&received.headers),
        recorded_ms: recorded_ms(received.header_list(), received.timestamp_ms.and_then(|ms| i64::try_from(ms).ok())),
        reason: cause.reason(),
        error: cause.error().to_owned(),
        rule: rule.map(ToString::to_string),
        agent: agent.map(ToString::to_string),
        generation: subject.generation,
        sent_to: subject.sent_to,
        event_id: subject.event_id.map(ToOwned::to_owned),
        workflow_id: subject.event.map(|event| event.workflow_id().to_owned()),
        workflow_run_id: subject.event.map(|event| event.workflow_run_id().to_owned()),
        attempts: subject.attempts,
        status: cause.status(),
        time: Timestamp::now(),
    };
    let stopped = dead_letter_stopped(&context.shutdown, ownership);
    if !context.dead_letters.deliver(&letter, stopped).await {
        return false;
    }
    if context.dead_letters.is_topic() {
        context.outcome_log.dead_letter(&letter, &subject);
    }
    true
}
