//! The clock of the lease: time that goes on while the process, or the machine, is suspended.

use std::time::Duration;

/// The time since the machine started, with the time that it was suspended.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Other systems have no such clock in the standard interfaces. A monotonic one goes on while the process is stopped, and
/// may stand still while the machine sleeps: after that a lease lasts for its length at most, and the first answer of the
/// group corrects it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn since_boot() -> Duration {
    use std::{sync::LazyLock, time::Instant};
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    STARTED.elapsed()
}
