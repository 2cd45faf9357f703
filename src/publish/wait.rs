//! Deadlines, and waits that the caller can interrupt.

use std::time::{Duration, Instant};

/// How often a wait checks for an interrupt.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// A check that ends a wait early, such as for a signal. It runs about ten times a second, on the waiting thread.
pub struct Interrupt<'a>(Option<&'a mut dyn FnMut() -> bool>);

impl<'a> Interrupt<'a> {
    /// A wait that lasts until its deadline.
    pub const fn never() -> Self {
        Self(None)
    }

    /// A wait that ends, as if its deadline had passed, once `check` returns true.
    pub const fn when(check: &'a mut dyn FnMut() -> bool) -> Self {
        Self(Some(check))
    }

    pub(super) fn is_raised(&mut self) -> bool {
        self.0.as_mut().is_some_and(|check| check())
    }
}

/// This long from now. What the clock cannot express becomes a year, which outlasts every delivery timeout.
pub(super) fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 60 * 60))
}

/// To milliseconds, for messages.
pub(super) fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
