//! The metrics that every event touches. Their handles are made once: to look one up costs a hash, allocations and a lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::outcome::Outcome;
use crate::telemetry;

/// `events_total`, for each outcome.
pub(super) struct OutcomeCounters(Vec<Counter>);

impl OutcomeCounters {
    pub(super) fn new() -> Self {
        let counter = |outcome: &Outcome| counter!(telemetry::EVENTS, "outcome" => outcome.as_str());
        Self(Outcome::ALL.iter().map(counter).collect())
    }

    pub(super) fn count(&self, outcome: Outcome) {
        let counters = Outcome::ALL.iter().zip(&self.0);
        for (_, counter) in counters.filter(|(of, _)| **of == outcome) {
            counter.increment(1);
        }
    }
}

/// The metrics of the deliveries to the agents of one name.
pub(super) struct AgentInstruments {
    agent: String,
    pending: Gauge,
    pending_now: AtomicI64,
    duration: Histogram,
    latency: Histogram,
    /// `attempts_total` of the usual result.
    accepted: Counter,
}

/// The usual result of an attempt.
pub(super) const ACCEPTED: &str = "2xx";

impl AgentInstruments {
    pub(super) fn new(agent: &str) -> Self {
        let label = || agent.to_owned();
        let pending = gauge!(telemetry::PENDING_DELIVERIES, "agent" => label());
        pending.set(0.0);
        Self {
            agent: label(),
            pending,
            pending_now: AtomicI64::new(0),
            duration: histogram!(telemetry::ATTEMPT_DURATION, "agent" => label()),
            latency: histogram!(telemetry::ACCEPTANCE_LATENCY, "agent" => label()),
            accepted: counter!(telemetry::ATTEMPTS, "agent" => label(), "result" => ACCEPTED),
        }
    }

    /// Deliveries that wait for it or are in flight.
    pub(super) fn pending(&self) -> i64 {
        self.pending_now.load(Ordering::Relaxed)
    }

    fn add_pending(&self, change: i64) {
        let now = self.pending_now.fetch_add(change, Ordering::Relaxed) + change;
        self.pending.set(now as f64);
    }

    pub(super) fn attempted(&self, result: &'static str, took: Duration) {
        self.duration.record(took);
        if result == ACCEPTED {
            self.accepted.increment(1);
        } else {
            counter!(telemetry::ATTEMPTS, "agent" => self.agent.clone(), "result" => result).increment(1);
        }
    }

    /// From the time of a record until its delivery was accepted.
    pub(super) fn accepted_after(&self, latency: Duration) {
        self.latency.record(latency);
    }
}

/// A delivery that waits for its agent or is in flight, until it is dropped.
pub(super) struct PendingDelivery(Arc<AgentInstruments>);

impl PendingDelivery {
    pub(super) fn new(of: Arc<AgentInstruments>) -> Self {
        of.add_pending(1);
        Self(of)
    }
}

impl Drop for PendingDelivery {
    fn drop(&mut self) {
        self.0.add_pending(-1);
    }
}
