//! One agent's door: how many attempts are under way, how fast they start, and when none may.
//!
//! Owns the slots, the pace and the breaker of one agent. Invariant: a [`Permit`] is held only while
//! a request is under way, so a delivery that waits for its retry costs the agent nothing.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::gauge;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    breaker::{Breaker, Gate, Report},
    rate::Pace,
    retry::Waits,
};
use crate::{agents::AgentSpec, telemetry};

pub(super) struct Door {
    agent: Arc<str>,
    slots: Semaphore,
    probe: Semaphore,
    breaker: Mutex<Breaker>,
    pace: Option<Mutex<Pace>>,
    held: watch::Sender<bool>,
}

/// Leave to make one attempt; dropped when the answer is there.
pub(super) struct Permit<'a> {
    _slot: SemaphorePermit<'a>,
    _probe: Option<SemaphorePermit<'a>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    pub(super) fn new(spec: &AgentSpec) -> Self {
        gauge!(telemetry::BREAKER_OPEN, "agent" => spec.name.to_string()).set(0.0);
        Self {
            agent: Arc::clone(&spec.name),
            slots: Semaphore::new(spec.concurrency),
            probe: Semaphore::new(1),
            breaker: Mutex::new(Breaker::new(Waits::after(&spec.retry, 0))),
            pace: spec.rate.map(|rate| Mutex::new(Pace::new(rate))),
            held: watch::Sender::new(false),
        }
    }

    pub(super) fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// How long until the next attempt may start, in ms; `None` when it may start now.
    pub(super) fn next_attempt_in_ms(&self) -> Option<u64> {
        let now = Instant::now();
        let at = lock(&self.breaker).next_attempt(now)?;
        u64::try_from(at.saturating_duration_since(now).as_millis()).ok()
    }

    fn gate(&self) -> Gate {
        lock(&self.breaker).gate(Instant::now())
    }

    /// Waits until an attempt may start. Waiters are served in order; while the agent is held they
    /// take turns at being the probe, so that one event that the agent cannot bear holds nobody.
    ///
    /// `None` only when the bridge has closed the door, which it never does while deliveries run.
    pub(super) async fn enter(&self) -> Option<Permit<'_>> {
        let mut held = self.held.subscribe();
        loop {
            let probe = if *held.borrow_and_update() {
                tokio::select! {
                    biased;
                    _ = held.wait_for(|held| !held) => continue,
                    permit = self.probe.acquire() => Some(permit.ok()?),
                }
            } else {
                None
            };
            match (self.gate(), &probe) {
                // It was held or released a moment ago: look again.
                (Gate::Probe(_), None) | (Gate::Open, Some(_)) => continue,
                (Gate::Probe(at), Some(_)) => tokio::select! {
                    biased;
                    _ = held.wait_for(|held| !held) => continue,
                    () = sleep_until(at) => {}
                },
                (Gate::Until(at), _) => {
                    sleep_until(at).await;
                    continue;
                }
                (Gate::Open, None) => {}
            }
            let slot = self.slots.acquire().await.ok()?;
            if let Some(pace) = &self.pace {
                let at = lock(pace).take(Instant::now());
                sleep_until(at).await;
            }
            // The agent may have failed while this attempt waited.
            match (self.gate(), &probe) {
                (Gate::Open, _) => return Some(Permit { _slot: slot, _probe: probe }),
                (Gate::Probe(at), Some(_)) if at <= Instant::now() => {
                    return Some(Permit { _slot: slot, _probe: probe });
                }
                _ => {}
            }
        }
    }

    /// Takes in an attempt's answer. True when a refusal is the agent's fault by now.
    pub(super) fn report(&self, report: &Report<'_>, retry_after: Option<Duration>, reason: &str) -> bool {
        let now = Instant::now();
        let mut breaker = lock(&self.breaker);
        let blamed = breaker.report(report, retry_after, now);
        let open = breaker.is_open();
        let changed = self.held.send_if_modified(|held| std::mem::replace(held, open) != open);
        let (cause, next) = (breaker.cause(), breaker.next_attempt(now));
        drop(breaker);
        let next_ms = next.map(|at| at.saturating_duration_since(now).as_millis());
        if let Some(pause) = retry_after.filter(|_| !open) {
            info!(agent = %self.agent, pause_ms = pause.as_millis(), reason, "agent asked for a pause: its deliveries wait");
        }
        if changed {
            gauge!(telemetry::BREAKER_OPEN, "agent" => self.agent.to_string()).set(f64::from(u8::from(open)));
            if open {
                warn!(
                    agent = %self.agent, cause, reason, next_probe_in_ms = next_ms,
                    "agent held: deliveries wait, only probes go out"
                );
            } else {
                info!(agent = %self.agent, "agent released: deliveries go on");
            }
        }
        blamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::{Endpoint, HttpSpec, Rate, RetrySpec};

    fn door(concurrency: usize, rate: Option<Rate>) -> Door {
        Door::new(&AgentSpec {
            name: "a".into(),
            endpoint: Endpoint::Http(HttpSpec {
                url: reqwest::Url::parse("http://127.0.0.1:1/").unwrap(),
                method: reqwest::Method::POST,
                headers: Vec::new(),
                auth: None,
                tls: None,
                sign: None,
            }),
            concurrency,
            rate,
            timeout: Duration::from_secs(1),
            retry: RetrySpec {
                initial: Duration::from_millis(100),
                max: Duration::from_secs(1),
                give_up_after: Duration::from_secs(60),
                max_attempts: None,
            },
            classify: std::collections::BTreeMap::new(),
        })
    }

    async fn enters(door: &Door) -> bool {
        tokio::time::timeout(Duration::from_millis(1), door.enter()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_attempts_than_slots() {
        let door = door(2, None);
        let one = door.enter().await;
        let _two = door.enter().await;
        assert!(!enters(&door).await);
        drop(one);
        assert!(enters(&door).await);
    }

    #[tokio::test(start_paused = true)]
    async fn while_held_one_probe_at_a_time_goes_out() {
        let door = door(8, None);
        door.report(&Report::Broken, None, "401");
        assert!(!enters(&door).await, "not before the probe is due");
        let probe = door.enter().await;
        assert!(probe.is_some());
        let second = tokio::time::timeout(Duration::from_secs(60), door.enter()).await;
        assert!(second.is_err(), "a second probe while the first is under way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_wakes_everybody_who_waited() {
        let door = Arc::new(door(8, None));
        door.report(&Report::Broken, Some(Duration::from_secs(3_000)), "401");
        let waiters: Vec<_> = (0..5)
            .map(|_| {
                let door = Arc::clone(&door);
                tokio::spawn(async move { door.enter().await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        *lock(&door.breaker) = Breaker::new(Waits::after(
            &RetrySpec {
                initial: Duration::from_millis(1),
                max: Duration::from_millis(1),
                give_up_after: Duration::ZERO,
                max_attempts: None,
            },
            0,
        ));
        door.report(&Report::Works, None, "");
        for waiter in waiters {
            assert!(tokio::time::timeout(Duration::from_secs(1), waiter).await.unwrap().unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_spaces_the_attempts() {
        let count = std::num::NonZeroU32::new(10).unwrap();
        let door = door(8, Some(Rate { count, per: Duration::from_secs(1) }));
        let start = Instant::now();
        for _ in 0..5 {
            drop(door.enter().await);
        }
        assert_eq!(start.elapsed().as_millis() / 100, 4);
    }
}
