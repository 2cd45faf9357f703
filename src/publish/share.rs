//! What a publish or a flush does for events that wait in the spool, once it knows that Kafka is there.
//!
//! Owns whose turn it is: of all the threads that publish, one looks at the spool each second, later if
//! the look itself takes long, and after a drain that failed nobody does for ten. Its invariant: a drain
//! takes no longer than what is left of the call's deadline, and what goes wrong in it is logged and
//! fails no publish.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{Budget, Publisher};

/// What one publish may do.
const SHARE: Budget = Budget { events: 1_000, time: Duration::from_secs(1) };
/// How soon the spool is looked at again, and how soon after a drain that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// And at least that many times what it took to list it.
const LISTING_SHARE: u32 = 20;

/// When the spool is looked at next.
pub(super) struct Turn {
    began: Instant,
    /// In milliseconds since `began`.
    due: AtomicU64,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), due: AtomicU64::new(0) }
    }

    /// Whether it is due, for one of the threads that ask.
    fn take(&self) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        self.began.elapsed() >= Duration::from_millis(due)
            && self.due.compare_exchange(due, self.after(LOOK_AGAIN), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn put_off(&self, wait: Duration) {
        self.due.store(self.after(wait), Ordering::Relaxed);
    }

    fn after(&self, wait: Duration) -> u64 {
        u64::try_from((self.began.elapsed() + wait).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Publisher {
    /// Kafka is there: a share of the time that is left goes to the spool.
    pub(super) fn drain_share(&self, until: Instant, go_on: &mut dyn FnMut() -> bool) {
        let time = until.saturating_duration_since(Instant::now()).min(SHARE.time);
        let Some(spool) = &self.spool else { return };
        if !self.is_acknowledged || time.is_zero() || !self.turn.take() {
            return;
        }
        let error = match self.drain_while(Budget { time, ..SHARE }, go_on) {
            Ok(drained) => {
                if drained.published > 0 {
                    let (published, left) = (drained.published, drained.left);
                    tracing::info!(published, left, "published events from the spool");
                }
                drained.error
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = error {
            tracing::warn!(error, "the spool could not be drained; its events wait");
            self.turn.put_off(TRY_AGAIN.max(spool.listing() * LISTING_SHARE));
        } else {
            self.turn.put_off(LOOK_AGAIN.max(spool.listing() * LISTING_SHARE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_those_who_ask_at_once_one_has_the_turn() {
        let turn = Turn::new();
        assert!(turn.take());
        assert!(!turn.take(), "it was taken just now");
    }

    #[test]
    fn a_drain_that_failed_puts_the_next_one_off() {
        let turn = Turn { began: Instant::now(), due: AtomicU64::new(0) };
        turn.put_off(TRY_AGAIN);
        let due = turn.due.load(Ordering::Relaxed);
        assert!(u128::from(due) >= TRY_AGAIN.as_millis() && !turn.take());
    }
}
