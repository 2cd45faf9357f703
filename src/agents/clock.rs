//! A clock that includes suspension.
//!
//! `max_request_lifetime` is measured with it: a process that was stopped, or a machine that slept, must see that
//! the time went by. It knows nothing of wall-clock time, and cannot count the pause of a
//! whole virtual machine that its hypervisor hides from it.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

/// A moment, as time since the machine started, suspension included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Boottime(Duration);

impl Boottime {
    /// The moment that is `since_boot` after the start of the machine.
    pub(crate) const fn new(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// The time since the machine started.
    pub(crate) const fn since_boot(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for Boottime {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

impl Sub for Boottime {
    type Output = Duration;

    /// Zero when `earlier` is the later one.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where the time comes from.
pub(crate) trait Clock: fmt::Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Boottime;
}

/// The system's clock: `CLOCK_BOOTTIME` on Linux, the monotonic clock elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Boottime {
        #[cfg(target_os = "linux")]
        const ID: rustix::time::ClockId = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        const ID: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(ID);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Boottime(Duration::new(seconds, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_does_not_go_back() {
        let first = SystemClock.now();
        assert!(first > Boottime::default());
        assert!(SystemClock.now() >= first);
    }

    #[test]
    fn a_later_moment_less_an_earlier_one_is_the_time_between() {
        let at = |s| Boottime::new(Duration::from_secs(s));
        assert_eq!(at(5) - at(2), Duration::from_secs(3));
        assert_eq!(at(2) - at(5), Duration::ZERO);
        assert_eq!(at(2) + Duration::from_secs(3), at(5));
        assert_eq!((at(2) + Duration::MAX).since_boot(), Duration::MAX);
    }
}
