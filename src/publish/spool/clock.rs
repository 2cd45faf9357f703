//! What makes file names unique: the wall clock and a counter.

use std::{
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use super::name;

/// Distinguishes files that one process makes within a millisecond; nothing else depends on it.
static NUMBER: AtomicU64 = AtomicU64::new(0);

pub(super) fn number() -> u64 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// A new event's name, without its ending.
pub(super) fn new_stem(destination: &str, event_id: &str) -> String {
    name::stem(now_ms(), destination, event_id, process::id(), number())
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock, in unix milliseconds.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
}
