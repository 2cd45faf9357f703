use super::{testing::limiter, *};
use crate::agents::{Endpoint, Rate, RetrySpec};

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
    limiter.report(&limiter.spec(), &AttemptResult::Permanent, None, "401");
    assert!(!acquires(&limiter).await, "not before the probe is due");
    let probe = limiter.acquire(Some(0)).await;
    assert!(probe.is_some());
    let second = tokio::time::timeout(Duration::from_secs(60), limiter.acquire(Some(0))).await;
    assert!(second.is_err(), "a second probe while the first is in flight");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_closes_wakes_every_waiter() {
    let limiter = Arc::new(limiter(8, None));
    limiter.report(&limiter.spec(), &AttemptResult::Permanent, Some(Duration::from_secs(3_000)), "401");
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
    limiter.report(&limiter.spec(), &AttemptResult::Success { began: Instant::now() }, None, "");
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
        if limiter.report(&limiter.spec(), &result, None, "400") {
            before.get_or_insert(Instant::now());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let result = AttemptResult::Rejected { event_id: "40", status: 400, before };
    limiter.report(&limiter.spec(), &result, None, "400");
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

/// With another method.
fn changed(spec: &AgentSpec) -> Arc<AgentSpec> {
    let mut spec = spec.clone();
    let Endpoint::Http(http) = &mut spec.endpoint else { unreachable!("it is an http agent") };
    http.method = reqwest::Method::PUT;
    Arc::new(spec)
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_former_settings_leaves_the_breaker_as_it_is() {
    let limiter = limiter(8, None);
    let former = limiter.spec();
    limiter.follow(&changed(&former));
    limiter.report(&former, &AttemptResult::Permanent, Some(Duration::from_secs(9)), "401");
    assert!(acquires(&limiter).await);
    limiter.report(&limiter.spec(), &AttemptResult::Permanent, None, "401");
    assert!(!acquires(&limiter).await);
    limiter.report(&former, &AttemptResult::Success { began: Instant::now() }, None, "");
    assert!(acquires(&limiter).await, "an acceptance proves that the endpoint works");
    for _ in 0..20 {
        limiter.report(&former, &AttemptResult::Transient, None, "connection refused");
    }
    assert!(!acquires(&limiter).await, "the endpoint is down for all settings");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_distant_probe_sends_it_at_once_with_other_settings() {
    let limiter = Arc::new(limiter(8, None));
    let former = limiter.spec();
    limiter.breaker.lock().set_backoff(Backoff::after(
        &RetrySpec { initial: Duration::from_secs(3_000), max: Duration::from_secs(3_000), ..former.retry.clone() },
        0,
    ));
    limiter.report(&former, &AttemptResult::Permanent, None, "401");
    let waiter = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.acquire(Some(0)).await.is_some() }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    limiter.follow(&changed(&former));
    assert!(tokio::time::timeout(Duration::from_secs(1), waiter).await.unwrap().unwrap());
}
