//! One delivery, from its first attempt to its end.
//!
//! Owns the order of writes at the end: the agent's answer, then the ledger, then its flush, then the end is reported.
//! A dead letter is acknowledged by the broker before the ledger calls the delivery dead. The attempts are made in
//! `attempts`.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{
    attempts::{Attempts, AttemptsEnd},
    cause::Cause,
    clock::now_ms,
    context::PipelineContext,
    dead_letter::dead_letter,
    event_state::EventState,
    missing::LONGEST_WAIT,
    outcome_log::Subject,
    parking::{
        SourcePartition,
        turn::{Line, ParkEnd, Turn, count, park},
    },
    rules::{Gone, Planned},
    start_queue::StartSlot,
    wait::{begin_attempt, stopped},
};
use crate::{
    dedup::{DeliveryStatus, LedgerError},
    event::DeliveryId,
    kafka::AttemptGuard,
};

/// A delivery that the parked topic refused is parked no sooner than this.
const PARK_AGAIN: Duration = Duration::from_secs(30);

/// How a delivery ended in this process.
#[derive(Debug)]
pub(super) enum DeliveryEnd {
    /// The ledger has its end (delivered or dead, of this process or of another), or calls it parked. The last attempt is
    /// under way until the event is completed.
    Recorded(Option<AttemptGuard>),
    /// The pipeline shuts down, or the partition was given up: the event is read again, here or by another replica.
    Abandoned,
}

/// Takes one delivery to its end and records the end, durably.
pub(super) async fn deliver(
    context: &PipelineContext,
    state: &EventState,
    (rule, agent): (&Arc<str>, &Arc<str>),
    parkable: Option<&Arc<SourcePartition>>,
    slot: StartSlot,
) -> Result<DeliveryEnd, LedgerError> {
    if state.is_fed() && !state.is_open(context, rule, agent)? {
        // Another record of the same delivery came before.
        return Ok(DeliveryEnd::Recorded(None));
    }
    let line = parkable.map(|partition| Line::new(Arc::clone(partition), Arc::clone(agent)));
    let mut planned = None;
    loop {
        let this = match planned.take() {
            Some(planned) => Ok(planned),
            None => match plan(context, state, (rule, agent), &slot).await {
                Some(planned) => planned,
                None => return Ok(DeliveryEnd::Abandoned),
            },
        };
        match deliver_as(context, state, (rule, agent), this.as_ref(), line.as_ref(), &slot).await? {
            Ok(end) => return Ok(end),
            Err(next) => planned = next,
        }
    }
}

/// What makes it, or why nothing does. One whose endpoint is missing waits for rules that have it. `None` when no attempt may
/// start any more.
async fn plan(
    context: &PipelineContext,
    state: &EventState,
    (rule, agent): (&Arc<str>, &Arc<str>),
    slot: &StartSlot,
) -> Option<Result<Planned, Cause>> {
    let mut in_force = context.rules.subscribe();
    let began = Instant::now();
    let mut waits = None;
    loop {
        in_force.mark_unchanged();
        let sent_to = state.sent_to(rule, agent);
        let gone = match context.rules.planned(&state.version, (rule, agent), sent_to) {
            Ok(planned) => return Some(Ok(planned)),
            Err(gone) => gone,
        };
        slot.release();
        let instead = match gone {
            Gone::Plan => return Some(Err(Cause::plan_gone(rule, agent))),
            Gone::Endpoint(instead) => instead,
        };
        if waits.is_none() {
            waits = Some(context.rules.missing.count(agent));
            warn!(
                event_id = state.event.id(), %rule, %agent,
                "delivery may have arrived at an endpoint that no loaded routing folder has: it waits for one that has it"
            );
        }
        let (_, first_attempt_ms) = state.progress(rule, agent);
        let tried = first_attempt_ms.map_or(Duration::ZERO, |at| Duration::from_millis(now_ms().saturating_sub(at)));
        let left = instead.runtime.spec.retry.give_up_after.saturating_sub(tried).min(LONGEST_WAIT);
        // Not kept while it waits: its version can be forgotten.
        drop(instead);
        tokio::select! {
            biased;
            () = stopped(&context.shutdown, state.ownership()) => return None,
            // The sender lives in the context.
            _ = in_force.changed() => {}
            () = sleep_until((began + LONGEST_WAIT).min(Instant::now() + left)) => {
                let id = DeliveryId::new(rule, agent, state.event.id(), state.generation(rule, agent));
                return Some(Err(Cause::endpoint_gone(agent, id)));
            }
        }
    }
}

/// Takes it to its end as one plan says. `Err`: it is to be made as this one says, or planned again.
async fn deliver_as(
    context: &PipelineContext,
    state: &EventState,
    (rule, agent): (&Arc<str>, &Arc<str>),
    planned: Result<&Planned, &Cause>,
    line: Option<&Line>,
    slot: &StartSlot,
) -> Result<Result<DeliveryEnd, Option<Planned>>, LedgerError> {
    // Kept until the end is in the ledger: until then no other attempt of the delivery begins.
    let mut attempts = planned.map(|planned| Attempts::new(context, state, planned, line, slot));
    let end = match (&mut attempts, line) {
        (Ok(attempts), Some(line)) => live(context, state, (rule, agent), attempts, line).await?,
        (Ok(attempts), None) => attempts.run().await?,
        (Err(cause), _) => AttemptsEnd::DeadLetter(cause.clone(), None),
    };
    // One that moves may wait for a permit of the same endpoint.
    if !matches!(end, AttemptsEnd::Moved(_)) {
        slot.release();
    }
    let (status, guard) = match end {
        AttemptsEnd::Delivered(guard) => (DeliveryStatus::Delivered, guard),
        AttemptsEnd::DeadLetter(cause, guard) => match dead(context, state, (rule, agent), &cause, guard).await? {
            Ok(guard) => (DeliveryStatus::Dead, Some(guard)),
            Err(end) => return Ok(Ok(end)),
        },
        AttemptsEnd::Parked(guard) | AttemptsEnd::Elsewhere(guard) => {
            return Ok(Ok(DeliveryEnd::Recorded(Some(guard))));
        }
        AttemptsEnd::Moved(next) => return Ok(Err(Some(next))),
        AttemptsEnd::SentElsewhere => return Ok(Err(None)),
        AttemptsEnd::Park | AttemptsEnd::Abandoned => return Ok(Ok(DeliveryEnd::Abandoned)),
    };
    state.finish(context, rule, agent, status)?;
    context.ledger.durable().await?;
    if state.is_fed() {
        count(
            context.parking.line(agent),
            if status == DeliveryStatus::Delivered { "delivered" } else { "dead_lettered" },
        );
    }
    Ok(Ok(DeliveryEnd::Recorded(guard)))
}

/// Writes the dead letter of a delivery. Without one there is another end.
async fn dead(
    context: &PipelineContext,
    state: &EventState,
    (rule, agent): (&Arc<str>, &Arc<str>),
    cause: &Cause,
    guard: Option<AttemptGuard>,
) -> Result<Result<AttemptGuard, DeliveryEnd>, LedgerError> {
    // An attempt that came before keeps others out already.
    let (guard, _exclusive) = if let Some(guard) = guard {
        (guard, None)
    } else {
        let id = DeliveryId::new(rule, agent, state.event.id(), state.generation(rule, agent));
        let exclusive = tokio::select! {
            biased;
            () = stopped(&context.shutdown, state.ownership()) => return Ok(Err(DeliveryEnd::Abandoned)),
            exclusive = context.under_way.enter(id) => exclusive,
        };
        match begin_attempt(&context.shutdown, state.ownership()).await {
            Some(guard) => (guard, Some(exclusive)),
            None => return Ok(Err(DeliveryEnd::Abandoned)),
        }
    };
    if !state.is_open(context, rule, agent)? {
        return Ok(Err(DeliveryEnd::Recorded(Some(guard))));
    }
    let subject = Subject {
        event_id: Some(state.event.id()),
        event: Some(&state.event),
        delivery: Some((rule, agent)),
        generation: state.generation(rule, agent),
        sent_to: state.sent_to(rule, agent),
        attempts: state.attempts(rule, agent),
    };
    let is_written = dead_letter(context, &state.received, state.ownership(), cause, subject).await;
    Ok(if is_written { Ok(guard) } else { Err(DeliveryEnd::Abandoned) })
}

/// A delivery of an event that was just read: it is attempted, or parked.
async fn live(
    context: &PipelineContext,
    state: &EventState,
    (rule, agent): (&Arc<str>, &Arc<str>),
    attempts: &mut Attempts<'_>,
    line: &Line,
) -> Result<AttemptsEnd, LedgerError> {
    loop {
        let turn = tokio::select! {
            biased;
            () = stopped(&context.shutdown, state.ownership()) => return Ok(AttemptsEnd::Abandoned),
            next = attempts.moves() => return Ok(AttemptsEnd::Moved(next)),
            turn = line.turn() => turn,
            // Last: it has to wait for its turn.
            () = async { attempts.slot.release() }, if attempts.slot.counts() => continue,
        };
        if let Turn::Park(being_parked) = turn {
            attempts.slot.release();
            let parked = if attempts.is_at_former_endpoint() {
                ParkEnd::Refused { until: being_parked.not_before(agent), fits: false }
            } else {
                park(context, state, (rule, agent), being_parked).await?
            };
            let (until, fits) = match parked {
                ParkEnd::Parked(guard) => return Ok(AttemptsEnd::Parked(guard)),
                ParkEnd::Abandoned => return Ok(AttemptsEnd::Abandoned),
                ParkEnd::Refused { until, fits } => (until, fits),
            };
            let again = Instant::now() + PARK_AGAIN;
            tokio::select! {
                biased;
                () = stopped(&context.shutdown, state.ownership()) => return Ok(AttemptsEnd::Abandoned),
                next = attempts.moves() => return Ok(AttemptsEnd::Moved(next)),
                () = line.until_ended(until) => {}
                () = sleep_until(again), if fits => continue,
            }
            if fits {
                attempts.park_from(again);
            } else {
                attempts.never_park();
            }
        }
        match attempts.run().await? {
            AttemptsEnd::Park => {}
            end => return Ok(end),
        }
    }
}
