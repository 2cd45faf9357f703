//! A client drains its own spool: when its caller asks, and on the way when a publish or a flush found Kafka reachable.

use std::time::{Duration, Instant};

use super::{Budget, DrainSchedule, Drained, run::drain};
use crate::publish::{Interrupt, PublishBatch, producer::Client, spool::SpoolError};

/// What one publish may do on the way.
const ON_THE_WAY: Budget = Budget { events: 1_000, time: Duration::from_secs(1) };
/// How long Kafka has for the events that are sent together.
const SEND_TIME: Duration = Duration::from_secs(30);
/// The error of a client without acknowledgements.
const UNACKNOWLEDGED: &str = "with acks=0 nobody says that Kafka has an event, so nothing may leave the spool: drain it \
                              with a client whose acks are `all` or `1`, or with `workflow-bridge spool drain`";

/// Publishes what waits in the client's own spool for its own brokers.
pub(in crate::publish) fn drain_own(
    client: &Client,
    budget: Budget,
    interrupt: &mut Interrupt<'_>,
) -> Result<Drained, SpoolError> {
    let Some(spool) = client.spool() else { return Ok(Drained::default()) };
    if !client.has_acknowledgements() {
        let left = spool.pass(Some(client.servers()), None)?.remaining();
        return Ok(Drained { left, error: Some(UNACKNOWLEDGED.into()), ..Drained::default() });
    }
    let began = Instant::now();
    drain(spool, Some(client.servers()), budget, &mut |records| {
        // A deadline of zero would not even try.
        let left = budget.time.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
        let sent = PublishBatch::send(client, records, left.min(SEND_TIME), interrupt);
        if interrupt.is_raised() { sent.last() } else { sent }
    })
}

/// Drains for a while if it is due. It takes no longer than what is left of the call's deadline, and its errors go to the
/// log: they fail no publish.
pub(in crate::publish) fn drain_if_due(
    client: &Client,
    schedule: &DrainSchedule,
    until: Instant,
    interrupt: &mut Interrupt<'_>,
) {
    let time = until.saturating_duration_since(Instant::now()).min(ON_THE_WAY.time);
    let Some(spool) = client.spool() else { return };
    if !client.has_acknowledgements() || time.is_zero() || !schedule.take() {
        return;
    }
    let error = match drain_own(client, Budget { time, ..ON_THE_WAY }, interrupt) {
        Ok(drained) => {
            if drained.published > 0 {
                let (published, left) = (drained.published, drained.left);
                tracing::info!(published, left, "published events from the spool");
            }
            drained.error
        }
        Err(error) => Some(error.to_string()),
    };
    if let Some(error) = &error {
        tracing::warn!(error, "the spool could not be drained; its events wait");
    }
    schedule.done(error.is_some(), spool.listing_time());
}
