//! The limiter of one endpoint of an agent: how many attempts run at once, how fast they start, and when none may.
//!
//! Owns the concurrency, the rate and the breaker, which a reload leaves as they are. Invariant: a [`Permit`] exists only while
//! a request is in flight, so a delivery that waits for its retry uses no concurrency.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::gauge;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    breaker::{Admission, AttemptResult, Breaker, BreakerState},
    clock::milliseconds,
    concurrency::{Concurrency, Slot},
    probe_queue::{ProbeQueue, ProbeToken},
    rate::Pace,
    retry::Backoff,
};
use crate::{agents::AgentSpec, sync::Mutex, telemetry};

pub(super) struct AgentLimiter {
    agent: Arc<str>,
    concurrency: Concurrency,
    probes: ProbeQueue,
    /// Numbers for deliveries that failed before and queue for a probe again.
    requeued: AtomicU64,
    breaker: Mutex<Breaker>,
    pace: Mutex<Option<Pace>>,
    /// Whether the breaker is open or half-open.
    open: watch::Sender<bool>,
    /// The settings that it goes by. Changed under the lock of the breaker.
    spec: watch::Sender<Arc<AgentSpec>>,
    /// The agent of this name has another endpoint, or there is none: the metric is not this one's.
    retired: AtomicBool,
    /// Deliveries whose attempts are made here.
    deliveries: Arc<AtomicUsize>,
}

/// A delivery that waits for the endpoint or is in flight, until it is dropped.
pub(super) struct CountedDelivery(Arc<AtomicUsize>);

impl Drop for CountedDelivery {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Permission for one attempt; dropped when its answer has arrived.
pub(super) struct Permit<'a> {
    _slot: Slot<'a>,
    _probe: Option<ProbeToken<'a>>,
}

impl AgentLimiter {
    pub(super) fn new(spec: &Arc<AgentSpec>) -> Self {
        Self {
            agent: Arc::clone(&spec.name),
            concurrency: Concurrency::new(spec.concurrency),
            probes: ProbeQueue::default(),
            requeued: AtomicU64::new(0),
            breaker: Mutex::new(Breaker::new(Backoff::after(&spec.retry, 0))),
            pace: Mutex::new(spec.rate.map(Pace::new)),
            open: watch::Sender::new(false),
            spec: watch::Sender::new(Arc::clone(spec)),
            retired: AtomicBool::new(true),
            deliveries: Arc::default(),
        }
    }

    /// The agent in force has this limiter, with these settings. The breaker stays as it is; with another key or certificate the
    /// next probe may succeed, so it is sent at once.
    pub(super) fn follow(&self, spec: &Arc<AgentSpec>) {
        let mut breaker = self.breaker.lock();
        let before = Arc::clone(&self.spec.borrow());
        if before.concurrency != spec.concurrency {
            self.concurrency.resize(spec.concurrency);
        }
        if before.rate != spec.rate {
            *self.pace.lock() = spec.rate.map(Pace::new);
        }
        if before.retry != spec.retry {
            breaker.set_backoff(Backoff::after(&spec.retry, 0));
        }
        if before.endpoint != spec.endpoint {
            breaker.probe_now(Instant::now());
        }
        // Last: who waits for the next probe looks again.
        self.spec.send_replace(Arc::clone(spec));
        self.retired.store(false, Ordering::Release);
        self.set_metric(&breaker);
    }

    /// What still waits goes on, but the metric is the successor's.
    pub(super) fn retire(&self) {
        let breaker = self.breaker.lock();
        self.retired.store(true, Ordering::Release);
        gauge!(telemetry::BREAKER_OPEN, "agent" => self.agent.to_string()).set(0.0);
        drop(breaker);
    }

    /// Whether the settings of the endpoint (key, headers, certificates) are those that it goes by, and not former ones.
    pub(super) fn follows(&self, spec: &AgentSpec) -> bool {
        self.spec.borrow().endpoint == spec.endpoint
    }

    fn set_metric(&self, breaker: &Breaker) {
        if !self.retired.load(Ordering::Acquire) {
            let is_open = f64::from(u8::from(breaker.is_open()));
            gauge!(telemetry::BREAKER_OPEN, "agent" => self.agent.to_string()).set(is_open);
        }
    }

    /// Counts a delivery until the result is dropped.
    pub(super) fn count_delivery(&self) -> CountedDelivery {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        CountedDelivery(Arc::clone(&self.deliveries))
    }

    /// How many deliveries wait for the endpoint or are in flight: the first of each lane.
    pub(super) fn deliveries(&self) -> usize {
        self.deliveries.load(Ordering::Relaxed)
    }

    pub(super) fn breaker_state(&self) -> BreakerState {
        self.breaker.lock().state(Instant::now())
    }

    /// The name of its agent.
    pub(super) fn agent(&self) -> &Arc<str> {
        &self.agent
    }

    /// Whether the breaker is open or half-open.
    pub(super) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Resolves when the breaker is open or half-open.
    pub(super) async fn until_open(&self) {
        // The sender lives here.
        let _ = self.open.subscribe().wait_for(|is_open| *is_open).await;
    }

    /// How long the breaker has been open, while it is.
    pub(super) fn open_for(&self) -> Option<Duration> {
        self.breaker.lock().open_for(Instant::now())
    }

    /// How long until the next attempt may start, in ms; `None` when it may start now.
    pub(super) fn next_attempt_in_ms(&self) -> Option<u64> {
        let now = Instant::now();
        let at = self.breaker.lock().next_attempt(now, true)?;
        Some(milliseconds(at.saturating_duration_since(now)))
    }

    fn admission(&self, untried: bool) -> Admission {
        self.breaker.lock().admission(Instant::now(), untried)
    }

    /// Waits until an attempt may start. Waiters are served in order. While the breaker is open they
    /// alternate as the probe, so that one event on which the agent fails does not block the others.
    /// `untried` is the delivery's number in the order of arrival as long as no attempt of it failed in this
    /// process: such a delivery comes before the others while the breaker is open.
    ///
    /// `None` only when the semaphore is closed, which never happens while deliveries run.
    pub(super) async fn acquire(&self, untried: Option<u64>) -> Option<Permit<'_>> {
        let mut open = self.open.subscribe();
        let mut spec = self.spec.subscribe();
        let number = untried.unwrap_or_else(|| self.requeued.fetch_add(1, Ordering::Relaxed));
        let untried = untried.is_some();
        loop {
            spec.mark_unchanged();
            let probe = if *open.borrow_and_update() {
                tokio::select! {
                    biased;
                    _ = open.wait_for(|open| !open) => continue,
                    token = self.probes.acquire(untried, number) => Some(token),
                }
            } else {
                None
            };
            match (self.admission(untried), &probe) {
                // The breaker opened or closed a moment ago.
                (Admission::Probe(_), None) | (Admission::Now, Some(_)) => continue,
                (Admission::Probe(at), Some(token)) => tokio::select! {
                    biased;
                    _ = open.wait_for(|open| !open) => continue,
                    () = sleep_until(at) => {}
                    // A probe may be due now, of another delivery too.
                    _ = spec.changed() => continue,
                    // An untried delivery may be due earlier: it gets the token.
                    () = token.untried_waits(), if !untried => continue,
                },
                (Admission::NotBefore(at), _) => {
                    sleep_until(at).await;
                    continue;
                }
                (Admission::Now, None) => {}
            }
            let slot = self.concurrency.acquire().await?;
            let at = self.pace.lock().as_mut().map(|pace| pace.take(Instant::now()));
            if let Some(at) = at {
                sleep_until(at).await;
            }
            // The agent may have failed while this attempt waited.
            match (self.admission(untried), &probe) {
                (Admission::Now, _) => return Some(Permit { _slot: slot, _probe: probe }),
                (Admission::Probe(at), Some(_)) if at <= Instant::now() => {
                    return Some(Permit { _slot: slot, _probe: probe });
                }
                _ => {}
            }
        }
    }

    /// Records the result of an attempt with these settings; see [`Breaker::record`]. That an agent does not accept former
    /// settings says nothing about those that it goes by.
    pub(super) fn report(
        &self,
        spec: &AgentSpec,
        result: &AttemptResult<'_>,
        retry_after: Option<Duration>,
        error: &str,
    ) -> bool {
        let now = Instant::now();
        let mut breaker = self.breaker.lock();
        if matches!(result, AttemptResult::Permanent | AttemptResult::Rejected { .. }) && !self.follows(spec) {
            return breaker.blames(result);
        }
        let agent_at_fault = breaker.record(result, retry_after, now);
        let is_open = breaker.is_open();
        let changed = self.open.send_if_modified(|open| std::mem::replace(open, is_open) != is_open);
        let (cause, next) = (breaker.cause(), breaker.next_attempt(now, true));
        if changed {
            self.set_metric(&breaker);
        }
        drop(breaker);
        let next_ms = next.map(|at| milliseconds(at.saturating_duration_since(now)));
        if let Some(pause) = retry_after.filter(|_| !is_open) {
            info!(agent = %self.agent, pause_ms = milliseconds(pause), error, "the agent asked for a pause: its deliveries wait");
        }
        if changed {
            if is_open {
                warn!(
                    agent = %self.agent, cause, error, next_probe_in_ms = next_ms,
                    "breaker opened: deliveries to the agent wait, only probes are sent"
                );
            } else {
                info!(agent = %self.agent, "breaker closed: deliveries to the agent go on");
            }
        }
        agent_at_fault
    }
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
