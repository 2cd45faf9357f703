//! The lease: until when this process can know that it is a member of the group.
//!
//! Owns one moment on a clock that counts suspension. Its invariant: the lease is valid only within a bounded time after
//! the *sending* of a request that proved the membership. Counted from the answer it would be wrong: the process may have
//! been stopped in between, for longer than the session. It talks to no broker; `consume::renewal` does.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::boot_clock::since_boot;

/// The longest lease. The session may be far longer: then a lapse is noticed well before the group acts on it.
const LONGEST: Duration = Duration::from_secs(10);

/// A clock: the time since some fixed moment.
type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// See the module.
pub(super) struct Lease {
    clock: Clock,
    length: Duration,
    terms: watch::Sender<Terms>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terms {
    /// Nothing renews it, so it is always valid.
    NotEnforced,
    /// Valid until this moment of the clock. A renewal that began before `epoch` does not count.
    Enforced { until: Duration, epoch: u64 },
}

/// The beginning of a renewal: when the request was sent, and for which lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Renewal {
    sent_at: Duration,
    epoch: u64,
}

impl Lease {
    /// A lease that is not enforced until [`enforce`](Self::enforce). `session` is how long the group waits for a silent
    /// member.
    pub(super) fn new(session: Duration) -> Self {
        Self::with_clock(session, Arc::new(since_boot))
    }

    pub(super) fn with_clock(session: Duration, clock: Clock) -> Self {
        Self { clock, length: LONGEST.min(session * 2 / 3), terms: watch::Sender::new(Terms::NotEnforced) }
    }

    /// From here on the lease is valid only after a renewal.
    pub(super) fn enforce(&self) {
        self.terms.send_replace(Terms::Enforced { until: Duration::ZERO, epoch: 0 });
    }

    pub(super) fn is_valid(&self) -> bool {
        match *self.terms.borrow() {
            Terms::NotEnforced => true,
            Terms::Enforced { until, .. } => (self.clock)() < until,
        }
    }

    /// To be called before the request is sent.
    pub(super) fn begin_renewal(&self) -> Renewal {
        let epoch = match *self.terms.borrow() {
            Terms::NotEnforced => 0,
            Terms::Enforced { epoch, .. } => epoch,
        };
        Renewal { sent_at: (self.clock)(), epoch }
    }

    /// The group has answered that this process was a member after the renewal began. Wakes those who wait.
    pub(super) fn renew(&self, renewal: Renewal) {
        self.terms.send_if_modified(|terms| match terms {
            Terms::Enforced { until, epoch } if *epoch == renewal.epoch => {
                *until = (*until).max(renewal.sent_at + self.length);
                true
            }
            _ => false,
        });
    }

    /// The membership was lost: an answer to an earlier request no longer counts.
    pub(super) fn end(&self) {
        self.terms.send_if_modified(|terms| {
            if let Terms::Enforced { until, epoch } = terms {
                (*until, *epoch) = (Duration::ZERO, *epoch + 1);
            }
            false
        });
    }

    /// Resolves when the lease was renewed after this call.
    pub(super) fn renewals(&self) -> watch::Receiver<impl Sized + use<>> {
        self.terms.subscribe()
    }

    /// How long ago the request was sent.
    pub(super) fn age(&self, renewal: Renewal) -> Duration {
        (self.clock)().saturating_sub(renewal.sent_at)
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("length", &self.length)
            .field("terms", &*self.terms.borrow())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::sync::Mutex;

    /// A clock that a test sets.
    #[derive(Clone, Default)]
    pub(in super::super) struct FakeClock(Arc<Mutex<Duration>>);

    impl FakeClock {
        pub(in super::super) fn advance(&self, by: Duration) {
            *self.0.lock() += by;
        }

        pub(in super::super) fn lease(&self, session: Duration) -> Arc<Lease> {
            let clock = self.clone();
            let lease = Lease::with_clock(session, Arc::new(move || *clock.0.lock()));
            lease.enforce();
            Arc::new(lease)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::FakeClock, *};

    const SESSION: Duration = Duration::from_secs(6);

    #[test]
    fn a_lease_counts_from_the_sending_of_the_request_and_not_from_its_answer() {
        let clock = FakeClock::default();
        let lease = clock.lease(SESSION);
        assert!(!lease.is_valid(), "the group has not answered yet");
        let renewal = lease.begin_renewal();
        clock.advance(Duration::from_millis(3_900));
        lease.renew(renewal);
        assert!(lease.is_valid(), "two thirds of the session are 4 s");
        clock.advance(Duration::from_millis(100));
        assert!(!lease.is_valid());
    }

    #[test]
    fn an_answer_that_comes_after_a_long_stop_makes_no_lease() {
        let clock = FakeClock::default();
        let lease = clock.lease(SESSION);
        let renewal = lease.begin_renewal();
        clock.advance(SESSION);
        lease.renew(renewal);
        assert!(!lease.is_valid());
    }

    #[test]
    fn an_earlier_request_that_is_answered_later_shortens_nothing() {
        let clock = FakeClock::default();
        let lease = clock.lease(SESSION);
        let first = lease.begin_renewal();
        clock.advance(Duration::from_secs(3));
        lease.renew(lease.begin_renewal());
        lease.renew(first);
        clock.advance(Duration::from_secs(3));
        assert!(lease.is_valid(), "valid for 4 s from the second request");
    }

    #[test]
    fn a_request_from_before_the_membership_was_lost_renews_nothing() {
        let clock = FakeClock::default();
        let lease = clock.lease(SESSION);
        let renewal = lease.begin_renewal();
        lease.renew(renewal);
        lease.end();
        assert!(!lease.is_valid());
        lease.renew(renewal);
        assert!(!lease.is_valid());
        lease.renew(lease.begin_renewal());
        assert!(lease.is_valid());
    }

    #[test]
    fn a_long_session_makes_no_lease_of_more_than_ten_seconds() {
        let clock = FakeClock::default();
        let lease = clock.lease(Duration::from_secs(45));
        lease.renew(lease.begin_renewal());
        clock.advance(Duration::from_secs(10));
        assert!(!lease.is_valid());
    }

    #[test]
    fn a_lease_that_is_not_enforced_is_always_valid() {
        let lease = Lease::new(SESSION);
        assert!(lease.is_valid());
        lease.end();
        assert!(lease.is_valid());
    }

    #[test]
    fn the_clock_of_the_machine_goes_on() {
        let before = since_boot();
        std::thread::sleep(Duration::from_millis(2));
        assert!(since_boot() > before);
    }
}
