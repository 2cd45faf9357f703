//! The waits of a delivery: each ends with its time, or when nothing may start any more.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::kafka::{AttemptGuard, Ownership};

/// How often the age of a waiting delivery is checked: the clock may be set meanwhile.
const AGE_CHECK: Duration = Duration::from_secs(30);

/// How long a dead letter that is being written when its partition is given up may take. It is short: the partition is
/// released after it.
const DEAD_LETTER_TIME: Duration = Duration::from_secs(1);

/// Resolves when nothing may start any more for an event: the pipeline shuts down, or the partition was given up.
pub(super) async fn stopped(shutdown: &CancellationToken, ownership: &Ownership) {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = ownership.given_up() => {}
    }
}

/// The same for a dead letter, which may be under way when its partition is given up.
pub(super) async fn dead_letter_stopped(shutdown: &CancellationToken, ownership: &Ownership) {
    let given_up = async {
        ownership.given_up().await;
        sleep(DEAD_LETTER_TIME).await;
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = given_up => {}
    }
}

/// Resolves when the next owner of the partition may have it: it was given up, and this time has passed since.
pub(super) async fn released(after: Duration, ownership: &Ownership) {
    ownership.given_up().await;
    sleep(after).await;
}

/// Waits until this process knows that it owns the partition. `None` when nothing may start any more.
pub(super) async fn begin_attempt(shutdown: &CancellationToken, ownership: &Arc<Ownership>) -> Option<AttemptGuard> {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        guard = ownership.begin_attempt() => guard,
    }
}

/// Waits. False when `stop` resolves first.
pub(super) async fn pause(stop: impl Future<Output = ()>, wait: Duration) -> bool {
    tokio::select! {
        biased;
        () = stop => false,
        () = sleep(wait) => true,
    }
}

/// Resolves when `left` is zero; never while it is `None`.
pub(super) async fn until_zero(left: impl Fn() -> Option<Duration>) {
    loop {
        match left() {
            None => return std::future::pending().await,
            Some(Duration::ZERO) => return,
            Some(left) => sleep(left.min(AGE_CHECK)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_once_when_the_pipeline_shuts_down() {
        let shutdown = CancellationToken::new();
        let began = Instant::now();
        assert!(pause(shutdown.cancelled(), Duration::from_secs(60)).await);
        assert_eq!(began.elapsed(), Duration::from_secs(60));
        tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                sleep(Duration::from_secs(5)).await;
                shutdown.cancel();
            }
        });
        assert!(!pause(shutdown.cancelled(), Duration::from_secs(3600)).await);
        assert_eq!(began.elapsed(), Duration::from_secs(65));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_delivery_is_overdue_when_its_time_is_up() {
        let began = Instant::now();
        let limit = Duration::from_secs(1000);
        until_zero(|| Some(limit.saturating_sub(began.elapsed()))).await;
        assert_eq!(began.elapsed(), limit);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_forward_is_noticed_within_the_age_check() {
        let began = Instant::now();
        let jump = Duration::from_secs(40);
        until_zero(|| Some(if began.elapsed() < jump { Duration::from_secs(86_400) } else { Duration::ZERO })).await;
        assert!(began.elapsed() <= jump + AGE_CHECK, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_without_an_attempt_waits_for_ever() {
        let waited = tokio::time::timeout(Duration::from_secs(1_000_000), until_zero(|| None)).await;
        assert!(waited.is_err());
    }
}
