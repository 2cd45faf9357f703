//! The calls of handlers that are under way in this process.
//!
//! Owns what a request to an agent has not: that a call can be stopped, and may hang unseen. Invariant: a call that is stopped ends
//! nothing but itself, whatever its function does when it is dropped. It does not know what an answer means.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::agents::Answer;

/// A call that takes longer is reported: without a time-out it may be one that never ends.
pub(super) const LONG_CALL: Duration = Duration::from_secs(5 * 60);

/// See the module.
#[derive(Default)]
pub(super) struct HandlerCalls {
    stopped: CancellationToken,
    under_way: watch::Sender<usize>,
}

/// Calls of one handler that take longer than [`LONG_CALL`].
#[derive(Default)]
pub(super) struct LongCalls(AtomicUsize);

impl LongCalls {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts a call until it is dropped.
struct UnderWay<'a>(&'a watch::Sender<usize>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
    }
}

impl HandlerCalls {
    /// Makes one call for an event. `None` when it was stopped: by `released`, or because all are.
    pub(super) async fn make(
        &self,
        mut call: Pin<Box<impl Future<Output = Answer> + Send>>,
        released: impl Future<Output = ()>,
        (handler, event_id): (&str, &str),
        long: &LongCalls,
    ) -> Option<Answer> {
        self.under_way.send_modify(|calls| *calls += 1);
        let _counted = UnderWay(&self.under_way);
        let answer = tokio::select! {
            biased;
            answer = &mut call => Some(answer),
            () = self.stopped.cancelled() => None,
            () = released => None,
            () = watched((handler, event_id), long) => None,
        };
        // What it holds may panic when it is dropped.
        if catch_unwind(AssertUnwindSafe(|| drop(call))).is_err() {
            warn!(handler, event_id, "the call of a handler was stopped, and panicked when it was dropped");
        }
        answer
    }

    /// Stops every call, also those that begin later.
    pub(super) fn stop(&self) {
        self.stopped.cancel();
    }

    /// Resolves when none is under way.
    pub(super) async fn ended(&self) {
        // The sender lives here.
        let _ = self.under_way.subscribe().wait_for(|calls| *calls == 0).await;
    }
}

/// Reports that a call takes long. Never resolves.
async fn watched((handler, event_id): (&str, &str), long: &LongCalls) {
    struct Long<'a>(&'a LongCalls, &'a str, &'a str, Instant);
    impl Drop for Long<'_> {
        fn drop(&mut self) {
            self.0.0.fetch_sub(1, Ordering::Relaxed);
            let seconds = self.3.elapsed().as_secs();
            info!(handler = self.1, event_id = self.2, seconds, "the long call of a handler has ended");
        }
    }
    let began = Instant::now();
    sleep(LONG_CALL).await;
    long.0.fetch_add(1, Ordering::Relaxed);
    let _long = Long(long, handler, event_id, began);
    warn!(
        handler,
        event_id,
        minutes = LONG_CALL.as_secs() / 60,
        "a call of a handler is still under way: if it hangs, set a `timeout` for the handler"
    );
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    async fn endless() -> Answer {
        let _panics = Panics;
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_stopped_end_although_their_drop_panics() {
        let (calls, long) = (HandlerCalls::default(), LongCalls::default());
        let never = std::future::pending();
        let mut call = pin!(calls.make(Box::pin(endless()), never, ("store", "e"), &long));
        assert!(call.as_mut().now_or_never().is_none());
        assert!(calls.ended().now_or_never().is_none(), "one is under way");
        calls.stop();
        assert_eq!(call.await, None);
        let released = async { sleep(Duration::from_secs(1)).await };
        assert_eq!(HandlerCalls::default().make(Box::pin(endless()), released, ("store", "e"), &long).await, None);
        timeout(Duration::from_secs(1), calls.ended()).await.expect("none is under way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_long_is_counted_until_it_ends() {
        let (calls, long) = (HandlerCalls::default(), LongCalls::default());
        let slow = async {
            sleep(2 * LONG_CALL).await;
            Answer::Ended
        };
        let mut call = pin!(calls.make(Box::pin(slow), std::future::pending(), ("store", "e"), &long));
        assert!(timeout(LONG_CALL / 2, &mut call).await.is_err());
        assert_eq!(long.count(), 0);
        assert!(timeout(LONG_CALL, &mut call).await.is_err());
        assert_eq!(long.count(), 1);
        assert_eq!(call.await, Some(Answer::Ended));
        assert_eq!(long.count(), 0);
    }
}
