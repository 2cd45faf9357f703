//! What a live delivery does when it has its turn: it is attempted, parked, or waits.
//!
//! Owns the order of writes of parking: the broker's acknowledgement of the parked record, the ledger, its flush, and only
//! then the delivery counts as parked. A delivery whose record does not fit the parked topic is never cut: it waits until
//! everything that was parked before it has ended, and is attempted then. So does one that the topic refuses, until it is
//! parked after all.

use std::sync::Arc;

use bytes::Bytes;
use metrics::counter;
use tokio::sync::{AcquireError, SemaphorePermit, watch};
use tracing::{debug, warn};

use super::{
    super::{
        clock::now_ms,
        context::PipelineContext,
        event_state::EventState,
        outcome_log::LoggedDelivery,
        wait::{begin_attempt, dead_letter_stopped, stopped},
    },
    LEAST_SLOTS, Mode, PARKING_SLOTS, ParkingId, SourcePartition,
};
use crate::{
    dedup::{DeliveryStatus, LedgerError},
    kafka::{AttemptGuard, ParkError, ParkedDelivery, ParkedHead},
    telemetry,
};

/// The live deliveries to one agent in one partition.
pub(in crate::pipeline) struct Line {
    partition: Arc<SourcePartition>,
    agent: Arc<str>,
}

/// What a live delivery may do now.
pub(in crate::pipeline) enum Turn {
    Attempt,
    Park(BeingParked),
}

/// A delivery that is being parked. Dropped, it is not.
pub(in crate::pipeline) struct BeingParked {
    partition: Arc<SourcePartition>,
    id: Option<ParkingId>,
}

/// How parking a delivery ended.
pub(in crate::pipeline) enum ParkEnd {
    /// The ledger calls it parked, or ended.
    Parked(AttemptGuard),
    /// Its record does not fit, or the topic refuses it. It is attempted when everything that was parked below this offset
    /// has ended: with nothing parked it is a probe, without which nobody would notice that the agent works again.
    Refused { until: i64, fits: bool },
    /// The pipeline shuts down, or the partition was given up.
    Abandoned,
}

impl Line {
    pub(in crate::pipeline) fn new(partition: Arc<SourcePartition>, agent: Arc<str>) -> Self {
        Self { partition, agent }
    }

    /// Waits until the delivery at the head of its lane may be attempted, or is to be parked.
    pub(in crate::pipeline) async fn turn(&self) -> Turn {
        let mut changed = self.partition.modes.subscribe();
        loop {
            changed.mark_unchanged();
            {
                let mut state = self.partition.state.lock();
                if state.mode(&self.agent) == Mode::Attempt {
                    return Turn::Attempt;
                }
                if let Some(id) = state.begin_parking(&self.agent) {
                    return Turn::Park(BeingParked { partition: Arc::clone(&self.partition), id: Some(id) });
                }
            }
            // The sender lives as long as the partition, which this holds.
            let _ = changed.changed().await;
        }
    }

    /// Resolves when deliveries are to be parked.
    pub(in crate::pipeline) async fn parks(&self) {
        self.until(&self.partition.modes, |partition| partition.mode(&self.agent) == Mode::Park).await;
    }

    /// Resolves when everything that was parked below this offset has ended.
    pub(in crate::pipeline) async fn until_ended(&self, end: i64) {
        self.until(&self.partition.ends, |partition| partition.state.lock().ended_before(&self.agent, end)).await;
    }

    async fn until(&self, sender: &watch::Sender<()>, holds: impl Fn(&SourcePartition) -> bool) {
        let mut changed = sender.subscribe();
        loop {
            changed.mark_unchanged();
            if holds(&self.partition) {
                return;
            }
            let _ = changed.changed().await;
        }
    }
}

impl BeingParked {
    /// It is not parked: it is attempted when everything that was parked below this offset has ended.
    pub(in crate::pipeline) fn not_before(self, agent: &str) -> i64 {
        self.partition.state.lock().end_of(agent)
    }

    fn end(mut self, offset: i64) {
        if let Some(id) = self.id.take() {
            self.partition.parked(id, offset);
        }
    }
}

impl Drop for BeingParked {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.partition.state.lock().not_parked(id);
        }
    }
}

/// Parks one delivery.
pub(in crate::pipeline) async fn park(
    context: &PipelineContext,
    state: &EventState,
    (rule, agent): (&Arc<str>, &Arc<str>),
    being_parked: BeingParked,
) -> Result<ParkEnd, LedgerError> {
    let begun = tokio::select! {
        biased;
        () = stopped(&context.shutdown, state.ownership()) => return Ok(ParkEnd::Abandoned),
        begun = begin(context, state) => begun,
    };
    let (slot, Some(guard)) = begun else { return Ok(ParkEnd::Abandoned) };
    if !state.is_open(context, rule, agent)? {
        return Ok(ParkEnd::Parked(guard));
    }
    let stopped = dead_letter_stopped(&context.shutdown, state.ownership());
    let offset = match context.parking.topics.park(&delivery(state, rule, agent), stopped).await {
        Ok(offset) => offset,
        Err(ParkError::Stopped { .. }) => return Ok(ParkEnd::Abandoned),
        Err(error @ (ParkError::TooLarge { .. } | ParkError::Refused { .. })) => {
            refused(state, (rule, agent), &error);
            let until = being_parked.not_before(agent);
            return Ok(ParkEnd::Refused { until, fits: !matches!(error, ParkError::TooLarge { .. }) });
        }
    };
    drop(slot);
    state.finish(context, rule, agent, DeliveryStatus::Parked)?;
    // At once: from here on the ledger calls it parked, and nothing may be committed past it.
    being_parked.end(offset);
    context.ledger.durable().await?;
    let logged = LoggedDelivery { event: &state.event, rule, agent, generation: state.generation(rule, agent) };
    context.outcome_log.parked(&logged, offset);
    count(agent, "parked");
    context.parking.wake();
    Ok(ParkEnd::Parked(guard))
}

/// Waits for room, and for the right to park. As for an attempt: what a former owner parks after the next one has looked
/// is found only when its event is read again.
async fn begin<'a>(
    context: &'a PipelineContext,
    state: &EventState,
) -> (Result<SemaphorePermit<'a>, AcquireError>, Option<AttemptGuard>) {
    if let Some(replication) = &context.replication {
        replication.room().await;
    }
    // It is never closed.
    let slot = context.parking.slots.acquire_many(slots(state)).await;
    (slot, begin_attempt(&context.shutdown, state.ownership()).await)
}

fn refused(state: &EventState, (rule, agent): (&str, &str), error: &ParkError) {
    let event_id = state.event.id();
    if matches!(error, ParkError::TooLarge { .. }) {
        count(agent, "too_large");
        warn!(event_id, %rule, %agent, %error, "delivery cannot be parked: it waits for its agent");
    } else {
        // The topic logs it for all.
        count(agent, "refused");
        debug!(event_id, %rule, %agent, %error, "delivery not parked: it waits for its agent");
    }
}

fn delivery(state: &EventState, rule: &Arc<str>, agent: &Arc<str>) -> ParkedDelivery {
    let (failed_attempts, first_attempt_ms) = state.progress(rule, agent);
    let received = &state.received;
    ParkedDelivery {
        origin: received.origin.clone(),
        key: received.key.clone(),
        value: received.value.clone(),
        headers: Arc::clone(&received.headers),
        timestamp_ms: received.timestamp_ms,
        head: ParkedHead {
            event_id: state.event.id().into(),
            rule: Arc::clone(rule),
            agent: Arc::clone(agent),
            generation: state.generation(rule, agent),
            attempts: state.attempts(rule, agent),
            failed_attempts,
            first_attempt_ms,
            parked_ms: now_ms(),
        },
    }
}

/// What parking a delivery takes of [`Parking::slots`](super::Parking): its record is copied.
fn slots(state: &EventState) -> u32 {
    let value = state.received.value.as_ref().map_or(0, Bytes::len);
    let headers = state.received.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
    let kib = (value + headers.sum::<usize>()) >> 10;
    u32::try_from(kib).unwrap_or(u32::MAX).clamp(LEAST_SLOTS, PARKING_SLOTS)
}

/// Counts what became of a delivery in `parked_deliveries_total`.
pub(in crate::pipeline) fn count(agent: &str, outcome: &'static str) {
    counter!(telemetry::PARKED_TOTAL, "agent" => agent.to_owned(), "outcome" => outcome).increment(1);
}
