//! Times as the ledger and the log write them.

use std::time::Duration;

use jiff::Timestamp;

/// The local clock, ms since 1970.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// A duration as a log field: JSON has no 128-bit numbers.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
