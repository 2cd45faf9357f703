//! The right to make attempts for the events of one assignment of one partition.
//!
//! Owns whether the partition was given up, and how many attempts are under way. Its invariants: after [`Ownership::give_up`]
//! has returned no attempt begins, and each that began is counted until its guard is dropped. A partition that is assigned
//! again has another ownership. It does not know what an attempt is.

use std::{fmt, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use crate::sync::Mutex;

/// See the module. Reachable from each [`Ticket`](super::Ticket).
pub(crate) struct Ownership {
    lease: Arc<Lease>,
    attempts: Mutex<Attempts>,
    given_up: CancellationToken,
}

#[derive(Debug, Default)]
struct Attempts {
    given_up: bool,
    under_way: usize,
}

/// One attempt under way. Keep it until the result of the attempt is durable and reported: when no guard is left, the
/// partition is released.
#[must_use = "an attempt is under way while its guard exists"]
#[derive(Debug)]
pub(crate) struct AttemptGuard(Arc<Ownership>);

/// What an attempt that wants to begin is told.
enum Begin {
    Begun,
    GivenUp,
    NoLease,
}

impl Ownership {
    pub(super) fn new(lease: Arc<Lease>) -> Arc<Self> {
        Arc::new(Self { lease, attempts: Mutex::default(), given_up: CancellationToken::new() })
    }

    /// Waits until this process knows that it owns the partition, and begins an attempt. `None` once the partition was
    /// given up.
    pub(crate) async fn begin_attempt(self: &Arc<Self>) -> Option<AttemptGuard> {
        let mut renewals = self.lease.renewals();
        loop {
            renewals.mark_unchanged();
            match self.try_begin() {
                Begin::Begun => return Some(AttemptGuard(Arc::clone(self))),
                Begin::GivenUp => return None,
                Begin::NoLease => {}
            }
            tokio::select! {
                biased;
                () = self.given_up.cancelled() => return None,
                // The sender lives as long as the lease, which this holds.
                _ = renewals.changed() => {}
            }
        }
    }

    fn try_begin(&self) -> Begin {
        let mut attempts = self.attempts.lock();
        if attempts.given_up {
            return Begin::GivenUp;
        }
        // Last: the process may have been stopped just now.
        if !self.lease.is_valid() {
            return Begin::NoLease;
        }
        attempts.under_way += 1;
        Begin::Begun
    }

    /// Resolves when the partition is given up.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// The partition was revoked or lost: no attempt begins any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.is_cancelled()
    }

    /// From here on no attempt begins.
    pub(super) fn give_up(&self) {
        self.attempts.lock().given_up = true;
        self.given_up.cancel();
    }

    /// How many attempts are under way.
    pub(crate) fn attempts(&self) -> usize {
        self.attempts.lock().under_way
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        self.0.attempts.lock().under_way -= 1;
    }
}

impl fmt::Debug for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ownership").field("attempts", &*self.attempts.lock()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
