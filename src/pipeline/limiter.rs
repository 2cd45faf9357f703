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
    /// What it goes by.
    spec: Mutex<Arc<AgentSpec>>,
    /// The agent of this name has another endpoint, or there is none: the metric is not this one's.
    retired: AtomicBool,
    /// Deliveries whose attempts are made here.
    deliveries: AtomicUsize,
}

/// A delivery that waits for the endpoint or is in flight, until it is dropped.
pub(super) struct CountedDelivery<'a>(&'a AtomicUsize);

impl Drop for CountedDelivery<'_> {
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
            spec: Mutex::new(Arc::clone(spec)),
            retired: AtomicBool::new(true),
            deliveries: AtomicUsize::new(0),
        }
    }

    /// It is that of the agent of its name from now on, with these settings. The breaker stays as it is; with another key or
    /// certificate the next probe may succeed, so it is sent at once.
    pub(super) fn follow(&self, spec: &Arc<AgentSpec>) {
        let before = std::mem::replace(&mut *self.spec.lock(), Arc::clone(spec));
        if before.concurrency != spec.concurrency {
            self.concurrency.resize(spec.concurrency);
        }
        if before.rate != spec.rate {
            *self.pace.lock() = spec.rate.map(Pace::new);
        }
        let mut breaker = self.breaker.lock();
        if before.retry != spec.retry {
            breaker.set_backoff(Backoff::after(&spec.retry, 0));
        }
        if before.endpoint != spec.endpoint {
            breaker.probe_now(Instant::now());
        }
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

    fn set_metric(&self, breaker: &Breaker) {
        if !self.retired.load(Ordering::Acquire) {
            let is_open = f64::from(u8::from(breaker.is_open()));
            gauge!(telemetry::BREAKER_OPEN, "agent" => self.agent.to_string()).set(is_open);
        }
    }

    /// Counts a delivery until the result is dropped.
    pub(super) fn count_delivery(&self) -> CountedDelivery<'_> {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        CountedDelivery(&self.deliveries)
    }

    /// How many deliveries wait for the endpoint or are in flight: the first of each lane.
    pub(super) fn deliveries(&self) -> usize {
        self.deliveries.load(Ordering::Relaxed)
    }

    pub(super) fn breaker_state(&self) -> BreakerState {
        self.breaker.lock().state(Instant::now())
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
        let number = untried.unwrap_or_else(|| self.requeued.fetch_add(1, Ordering::Relaxed));
        let untried = untried.is_some();
        loop {
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

    /// Records the result of an attempt; see [`Breaker::record`].
    pub(super) fn report(&self, result: &AttemptResult<'_>, retry_after: Option<Duration>, error: &str) -> bool {
        let now = Instant::now();
        let mut breaker = self.breaker.lock();
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
mod tests {
    use super::*;
    use crate::agents::{Endpoint, HttpSpec, Rate, RetrySpec};

    fn limiter(concurrency: usize, rate: Option<Rate>) -> AgentLimiter {
        AgentLimiter::new(&Arc::new(AgentSpec {
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
        }))
    }

    async fn acquires(limiter: &AgentLimiter) -> bool {
        tokio::time::timeout(Duration::from_millis(1), limiter.acquire(Some(0))).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_attempts_than_the_concurrency() {
        let limiter = limiter(2, None);
        let one = limiter.acquire(Some(0)).await;
        let _two = limiter.acquire(Some(0)).await;
        assert!(!acquires(&limiter).await);
        drop(one);
        assert!(acquires(&limiter).await);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_breaker_is_open_one_probe_at_a_time_is_sent() {
        let limiter = limiter(8, None);
        limiter.report(&AttemptResult::Permanent, None, "401");
        assert!(!acquires(&limiter).await, "not before the probe is due");
        let probe = limiter.acquire(Some(0)).await;
        assert!(probe.is_some());
        let second = tokio::time::timeout(Duration::from_secs(60), limiter.acquire(Some(0))).await;
        assert!(second.is_err(), "a second probe while the first is in flight");
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_that_closes_wakes_every_waiter() {
        let limiter = Arc::new(limiter(8, None));
        limiter.report(&AttemptResult::Permanent, Some(Duration::from_secs(3_000)), "401");
        let waiters: Vec<_> = (0..5)
            .map(|n| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move { limiter.acquire(Some(n)).await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        *limiter.breaker.lock() = Breaker::new(Backoff::after(
            &RetrySpec {
                initial: Duration::from_millis(1),
                max: Duration::from_millis(1),
                give_up_after: Duration::ZERO,
                max_attempts: None,
            },
            0,
        ));
        limiter.report(&AttemptResult::Success { began: Instant::now() }, None, "");
        for waiter in waiters {
            assert!(tokio::time::timeout(Duration::from_secs(1), waiter).await.unwrap().unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_untried_delivery_overtakes_one_that_was_rejected_before() {
        let limiter = limiter(8, None);
        let mut before = None;
        for n in 0..40 {
            let result = AttemptResult::Rejected { event_id: &n.to_string(), status: 400, before };
            if limiter.report(&result, None, "400") {
                before.get_or_insert(Instant::now());
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let result = AttemptResult::Rejected { event_id: "40", status: 400, before };
        limiter.report(&result, None, "400");
        let limiter = Arc::new(limiter);
        let start = Instant::now();
        let again = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire(None).await.map(|_| start.elapsed()) }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(limiter.acquire(Some(0)).await.is_some());
        assert!(start.elapsed() <= Duration::from_millis(150), "it was sent after {:?}", start.elapsed());
        let waited = again.await.unwrap();
        assert!(waited.is_some_and(|waited| waited >= Duration::from_millis(400)), "the other one waited: {waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_spaces_the_attempts() {
        let count = std::num::NonZeroU32::new(10).unwrap();
        let limiter = limiter(8, Some(Rate { count, per: Duration::from_secs(1) }));
        let start = Instant::now();
        for _ in 0..5 {
            drop(limiter.acquire(Some(0)).await);
        }
        assert_eq!(start.elapsed().as_millis() / 100, 4);
    }
}
