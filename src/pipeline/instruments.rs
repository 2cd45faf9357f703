//! The metrics that every event touches. Their handles are made once: to look one up costs a hash, allocations and a lock.

use std::time::Duration;

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

/// The metrics of one agent's deliveries.
pub(super) struct AgentInstruments {
    agent: String,
    pending: Gauge,
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
        Self {
            agent: label(),
            pending: gauge!(telemetry::PENDING_DELIVERIES, "agent" => label()),
            duration: histogram!(telemetry::ATTEMPT_DURATION, "agent" => label()),
            latency: histogram!(telemetry::ACCEPTANCE_LATENCY, "agent" => label()),
            accepted: counter!(telemetry::ATTEMPTS, "agent" => label(), "result" => ACCEPTED),
        }
    }

    /// So many deliveries wait for it or are in flight.
    pub(super) fn pending(&self, now: i64) {
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
