//! What the loop and the renewing thread tell each other, and the readers of the status, about the lease.

use std::time::{Duration, Instant};

use crate::{
    sync::{Condvar, Mutex},
    telemetry,
};

/// A wait that is shorter is not reported: a new assignment waits for its first renewal.
const REPORT_AFTER: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LeaseReport {
    renewal_requested: Mutex<bool>,
    requested: Condvar,
    wait: Mutex<Wait>,
}

/// Deliveries wait for the lease.
#[derive(Debug, Default)]
struct Wait {
    since: Option<(Instant, jiff::Timestamp)>,
    reported: bool,
    /// What the last renewal failed with.
    error: Option<String>,
}

impl LeaseReport {
    /// Renews the lease now: there is a new assignment, or the consumer closes.
    pub(super) fn request_renewal(&self) {
        *self.renewal_requested.lock() = true;
        self.requested.notify_all();
    }

    /// Waits for a request to renew the lease, or for the time.
    pub(super) fn wait(&self, timeout: Duration) {
        let requested = self.renewal_requested.lock();
        let mut requested = self.requested.wait_timeout_while(requested, timeout, |requested| !*requested);
        *requested = false;
    }

    /// Since when deliveries wait for the group's answer.
    pub(super) fn waiting_since(&self) -> Option<jiff::Timestamp> {
        self.wait.lock().since.filter(|(began, _)| began.elapsed() >= REPORT_AFTER).map(|(_, since)| since)
    }

    /// Reports a lease that lapsed, and one that was renewed. The loop does, because a renewal may take long. `None` while
    /// no partition is owned: nothing waits then, and nothing starts again.
    pub(super) fn observe(&self, lease: Option<bool>) {
        let is_valid = lease.unwrap_or(true);
        metrics::gauge!(telemetry::LEASE_VALID).set(f64::from(u8::from(is_valid)));
        let mut wait = self.wait.lock();
        if is_valid {
            if let Some((began, _)) = wait.since.take().filter(|_| wait.reported && lease.is_some()) {
                tracing::info!(
                    waited_ms = began.elapsed().as_millis(),
                    "the group has answered: deliveries start again"
                );
            }
            wait.reported = false;
            return;
        }
        let (began, _) = *wait.since.get_or_insert_with(|| (Instant::now(), jiff::Timestamp::now()));
        if !wait.reported && began.elapsed() >= REPORT_AFTER {
            wait.reported = true;
            tracing::warn!(
                error = wait.error,
                "the group does not answer: deliveries wait until it confirms that the partitions are still ours"
            );
        }
    }

    /// A renewal ended, with this error.
    pub(super) fn ended(&self, error: Option<String>) {
        self.wait.lock().error = error;
    }
}
