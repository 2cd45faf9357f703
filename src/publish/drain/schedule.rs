//! When a publish or a flush drains the spool on the way: of all the threads that publish, one each second, less often
//! if listing the folder takes long, and ten seconds after a drain that failed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The least time between two drains.
const INTERVAL: Duration = Duration::from_secs(1);
/// The least time after a drain that failed.
const FAILED_INTERVAL: Duration = Duration::from_secs(10);
/// And at least that many times what it took to list the folder.
const LISTING_FACTOR: u32 = 20;

/// When the spool is drained next.
pub(in crate::publish) struct DrainSchedule {
    began: Instant,
    /// In milliseconds since `began`.
    due: AtomicU64,
}

impl DrainSchedule {
    pub(in crate::publish) fn new() -> Self {
        Self { began: Instant::now(), due: AtomicU64::new(0) }
    }

    /// Whether a drain is due: true for one of the threads that ask.
    pub(super) fn take(&self) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        self.began.elapsed() >= Duration::from_millis(due)
            && self.due.compare_exchange(due, self.after(INTERVAL), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Puts the next drain off after one that took so long to list the folder.
    pub(super) fn done(&self, has_failed: bool, listing: Duration) {
        let interval = if has_failed { FAILED_INTERVAL } else { INTERVAL };
        self.due.store(self.after(interval.max(listing * LISTING_FACTOR)), Ordering::Relaxed);
    }

    fn after(&self, wait: Duration) -> u64 {
        u64::try_from((self.began.elapsed() + wait).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A schedule for which no time passes: until it begins, nothing has elapsed.
    fn standing() -> DrainSchedule {
        DrainSchedule { began: Instant::now() + Duration::from_secs(3600), due: AtomicU64::new(0) }
    }

    #[test]
    fn of_the_threads_that_ask_at_once_one_drains() {
        let schedule = standing();
        assert!(schedule.take());
        assert!(!schedule.take(), "it was taken just now");
    }

    #[test]
    fn a_drain_that_failed_puts_the_next_one_off() {
        let schedule = standing();
        schedule.done(true, Duration::ZERO);
        let due = schedule.due.load(Ordering::Relaxed);
        assert!(u128::from(due) >= FAILED_INTERVAL.as_millis() && !schedule.take());
    }
}
