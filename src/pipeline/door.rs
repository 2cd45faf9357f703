//! One agent's door: how many attempts are under way, how fast they start, and when none may.
//!
//! Owns the slots, the pace and the breaker of one agent. Invariant: a [`Permit`] is held only while
//! a request is under way, so a delivery that waits for its retry costs the agent nothing.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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
    milliseconds,
    rate::Pace,
    retry::Waits,
    turns::{Turn, Turns},
};
use crate::{agents::AgentSpec, telemetry};

pub(super) struct Door {
    agent: Arc<str>,
    slots: Semaphore,
    turns: Turns,
    returns: AtomicU64,
    breaker: Mutex<Breaker>,
    pace: Option<Mutex<Pace>>,
    held: watch::Sender<bool>,
}

/// Leave to make one attempt; dropped when the answer is there.
pub(super) struct Permit<'a> {
    _slot: SemaphorePermit<'a>,
    _probe: Option<Turn<'a>>,
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
            turns: Turns::default(),
            returns: AtomicU64::new(0),
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
        let at = lock(&self.breaker).next_attempt(now, true)?;
        Some(milliseconds(at.saturating_duration_since(now)))
    }

    fn gate(&self, untried: bool) -> Gate {
        lock(&self.breaker).gate(Instant::now(), untried)
    }

    /// Waits until an attempt may start. Waiters are served in order; while the agent is held they
    /// take turns at being the probe, so that one event that the agent cannot bear holds nobody.
    /// `first` is the delivery's number in the order of arrival while it had no attempt that failed in this
    /// process: it comes before the others then.
    ///
    /// `None` only when the bridge has closed the door, which it never does while deliveries run.
    pub(super) async fn enter(&self, first: Option<u64>) -> Option<Permit<'_>> {
        let mut held = self.held.subscribe();
        let untried = first.is_some();
        let number = first.unwrap_or_else(|| self.returns.fetch_add(1, Ordering::Relaxed));
        loop {
            let probe = if *held.borrow_and_update() {
                tokio::select! {
                    biased;
                    _ = held.wait_for(|held| !held) => continue,
                    turn = self.turns.take(untried, number) => Some(turn),
                }
            } else {
                None
            };
            match (self.gate(untried), &probe) {
                // It was held or released a moment ago: look again.
                (Gate::Probe(_), None) | (Gate::Open, Some(_)) => continue,
                (Gate::Probe(at), Some(turn)) => tokio::select! {
                    biased;
                    _ = held.wait_for(|held| !held) => continue,
                    () = sleep_until(at) => {}
                    // It may be due earlier; the turn goes to it.
                    () = turn.untried_waits(), if !untried => continue,
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
            match (self.gate(untried), &probe) {
                (Gate::Open, _) => return Some(Permit { _slot: slot, _probe: probe }),
                (Gate::Probe(at), Some(_)) if at <= Instant::now() => {
                    return Some(Permit { _slot: slot, _probe: probe });
                }
                _ => {}
            }
        }
    }

    /// Takes in an attempt's answer; see [`Breaker::report`].
    pub(super) fn report(&self, report: &Report<'_>, retry_after: Option<Duration>, reason: &str) -> bool {
        let now = Instant::now();
        let mut breaker = lock(&self.breaker);
        let blamed = breaker.report(report, retry_after, now);
        let open = breaker.is_open();
        let changed = self.held.send_if_modified(|held| std::mem::replace(held, open) != open);
        let (cause, next) = (breaker.cause(), breaker.next_attempt(now, true));
        drop(breaker);
        let next_ms = next.map(|at| milliseconds(at.saturating_duration_since(now)));
        if let Some(pause) = retry_after.filter(|_| !open) {
            info!(agent = %self.agent, pause_ms = milliseconds(pause), reason, "agent asked for a pause: its deliveries wait");
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
        tokio::time::timeout(Duration::from_millis(1), door.enter(Some(0))).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_attempts_than_slots() {
        let door = door(2, None);
        let one = door.enter(Some(0)).await;
        let _two = door.enter(Some(0)).await;
        assert!(!enters(&door).await);
        drop(one);
        assert!(enters(&door).await);
    }

    #[tokio::test(start_paused = true)]
    async fn while_held_one_probe_at_a_time_goes_out() {
        let door = door(8, None);
        door.report(&Report::Broken, None, "401");
        assert!(!enters(&door).await, "not before the probe is due");
        let probe = door.enter(Some(0)).await;
        assert!(probe.is_some());
        let second = tokio::time::timeout(Duration::from_secs(60), door.enter(Some(0))).await;
        assert!(second.is_err(), "a second probe while the first is under way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_wakes_everybody_who_waited() {
        let door = Arc::new(door(8, None));
        door.report(&Report::Broken, Some(Duration::from_secs(3_000)), "401");
        let waiters: Vec<_> = (0..5)
            .map(|n| {
                let door = Arc::clone(&door);
                tokio::spawn(async move { door.enter(Some(n)).await.is_some() })
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
        door.report(&Report::Works { began: Instant::now() }, None, "");
        for waiter in waiters {
            assert!(tokio::time::timeout(Duration::from_secs(1), waiter).await.unwrap().unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_untried_delivery_overtakes_one_that_waits_to_be_refused_again() {
        let door = door(8, None);
        let mut before = None;
        for n in 0..40 {
            let report = Report::Refused { event_id: &n.to_string(), answer: 400, before };
            if door.report(&report, None, "400") {
                before.get_or_insert(Instant::now());
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let report = Report::Refused { event_id: "40", answer: 400, before };
        door.report(&report, None, "400");
        let door = Arc::new(door);
        let start = Instant::now();
        let again = tokio::spawn({
            let door = Arc::clone(&door);
            async move { door.enter(None).await.map(|_| start.elapsed()) }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(door.enter(Some(0)).await.is_some());
        assert!(start.elapsed() <= Duration::from_millis(150), "it went out after {:?}", start.elapsed());
        let waited = again.await.unwrap();
        assert!(waited.is_some_and(|waited| waited >= Duration::from_millis(400)), "the other one waited: {waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_spaces_the_attempts() {
        let count = std::num::NonZeroU32::new(10).unwrap();
        let door = door(8, Some(Rate { count, per: Duration::from_secs(1) }));
        let start = Instant::now();
        for _ in 0..5 {
            drop(door.enter(Some(0)).await);
        }
        assert_eq!(start.elapsed().as_millis() / 100, 4);
    }
}
