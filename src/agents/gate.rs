//! The moment at which a request's body is written, and whether it may be.
//!
//! A request passes its gate when the connection is established and polls the first byte of the body. So
//! a gate that was never passed proves that nothing was sent, and a process that was stopped before that
//! finds its gate closed. Its invariant: once revoked, a gate is never passed. One gap remains: a process that is
//! stopped between the gate and the write, some microseconds later. No sender can detect that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::clock::{Boottime, Clock};

const WAITING: u64 = 0;
const REVOKED: u64 = u64::MAX;
const LATE: u64 = u64::MAX - 1;

/// One request's gate.
#[derive(Debug)]
pub(super) struct Gate {
    /// [`WAITING`], [`REVOKED`], [`LATE`], or the nanoseconds since boot at which it was passed.
    state: AtomicU64,
    until: Option<Boottime>,
    clock: Arc<dyn Clock>,
}

/// The body may not be sent.
#[derive(Debug, thiserror::Error)]
#[error("the right to send the request ended before it could be written")]
pub(super) struct Closed;

impl Gate {
    pub(super) fn new(clock: Arc<dyn Clock>, until: Option<Boottime>) -> Arc<Self> {
        Arc::new(Self { state: AtomicU64::new(WAITING), until, clock })
    }

    /// Called when the body is about to be written.
    pub(super) fn pass(&self) -> Result<(), Closed> {
        let now = self.clock.now();
        let late = self.until.is_some_and(|until| now > until);
        let to = if late { LATE } else { stamp(now) };
        match self.state.compare_exchange(WAITING, to, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) if !late => Ok(()),
            _ => Err(Closed),
        }
    }

    /// Closes the gate for good. Returns when it was passed, if it was.
    pub(super) fn revoke(&self) -> Option<Boottime> {
        match self.state.compare_exchange(WAITING, REVOKED, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) | Err(REVOKED | LATE) => None,
            Err(nanos) => Some(Boottime::new(Duration::from_nanos(nanos))),
        }
    }

    /// Whether somebody tried to pass it after its time.
    pub(super) fn too_late(&self) -> bool {
        self.state.load(Ordering::SeqCst) == LATE
    }
}

fn stamp(at: Boottime) -> u64 {
    u64::try_from(at.since_boot().as_nanos()).unwrap_or(LATE - 1).clamp(WAITING + 1, LATE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::clock::SystemClock;

    #[test]
    fn a_gate_is_passed_once_and_remembers_when() {
        let gate = Gate::new(Arc::new(SystemClock), None);
        gate.pass().unwrap();
        assert!(gate.revoke().is_some_and(|at| at <= SystemClock.now()));
        assert!(!gate.too_late());
        gate.pass().unwrap_err();
    }

    #[test]
    fn a_revoked_gate_is_never_passed() {
        let gate = Gate::new(Arc::new(SystemClock), None);
        assert_eq!(gate.revoke(), None);
        gate.pass().unwrap_err();
        assert_eq!(gate.revoke(), None);
        assert!(!gate.too_late());
    }

    #[test]
    fn a_gate_is_not_passed_after_its_time() {
        let gate = Gate::new(Arc::new(SystemClock), Some(Boottime::new(Duration::from_nanos(1))));
        assert!(!gate.too_late());
        gate.pass().unwrap_err();
        assert!(gate.too_late());
        assert_eq!(gate.revoke(), None);
    }
}
