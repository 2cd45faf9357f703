//! When a failed delivery is retried, and the limits after which it is given up. Pure.
//!
//! The only file that uses the `backoff` crate. The crate's own limits are not used: its `Retry-After` ignores the
//! elapsed time and it counts no attempts. Both limits are functions here, of numbers that survive a restart.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};

use super::outcome::DeadLetterReason;
use crate::agents::RetrySpec;

/// The jittered, doubling waits of one delivery, or of the probes of one agent.
pub(super) struct Backoff {
    exponential: ExponentialBackoff,
    initial: Duration,
    max: Duration,
}

impl Backoff {
    /// The backoff of the routing file, after this many failures.
    pub(super) fn after(spec: &RetrySpec, failures: u32) -> Self {
        let exponential = ExponentialBackoffBuilder::new()
            .with_initial_interval(spec.initial)
            .with_max_interval(spec.max)
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            .with_max_elapsed_time(None)
            .build();
        let mut backoff = Self { exponential, initial: spec.initial, max: spec.max };
        // More doublings than 64 change nothing: the maximum is reached before.
        for _ in 0..failures.min(64) {
            backoff.next();
        }
        backoff
    }

    /// The next wait, never longer than the maximum.
    pub(super) fn next(&mut self) -> Duration {
        self.exponential.next_backoff().map_or(self.max, |wait| wait.min(self.max))
    }

    /// The shortest wait.
    pub(super) fn initial(&self) -> Duration {
        self.initial
    }

    /// Starts again at the initial wait.
    pub(super) fn reset(&mut self) {
        self.exponential.reset();
    }
}

/// Why a delivery is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GiveUpReason {
    /// Its first attempt is longer ago than `give_up_after`.
    GiveUpAfter,
    /// It was answered ambiguously `max_attempts` times.
    MaxAttempts,
    /// The same for a handler: it failed once more than there are retries.
    MaxRetries,
}

impl GiveUpReason {
    /// The sentence in the dead letter.
    pub(super) fn describe(self, failed_attempts: u32) -> String {
        match self {
            Self::GiveUpAfter => "its first attempt is longer ago than give_up_after".to_owned(),
            Self::MaxAttempts => format!("it was answered ambiguously {failed_attempts} times, which is max_attempts"),
            Self::MaxRetries => format!("its handler failed {failed_attempts} times, one more than max_retries"),
        }
    }

    pub(super) fn reason(self) -> DeadLetterReason {
        match self {
            Self::GiveUpAfter => DeadLetterReason::GaveUp,
            Self::MaxAttempts | Self::MaxRetries => DeadLetterReason::MaxAttempts,
        }
    }
}

/// No delivery is too late before this process has tried it for 5 minutes: after an outage of the bridge, or a jump of
/// the clock, the agent gets time to recover.
const MIN_TRIED_FOR: Duration = Duration::from_secs(300);

/// Whether as many attempts were answered ambiguously as `max_attempts` allows.
pub(super) fn max_attempts_reached(spec: &RetrySpec, failed_attempts: u32) -> bool {
    spec.max_attempts.is_some_and(|max| failed_attempts >= max)
}

/// How long until a delivery is too late: zero when it is, `None` when it has had no attempt. The first attempt of
/// any process was at `first_attempt_ms`, the first of this process `tried_for` ago.
pub(super) fn too_late_in(
    spec: &RetrySpec,
    first_attempt_ms: Option<u64>,
    now_ms: u64,
    tried_for: Duration,
) -> Option<Duration> {
    let age = Duration::from_millis(now_ms.saturating_sub(first_attempt_ms?));
    let fair = MIN_TRIED_FOR.min(spec.give_up_after).saturating_sub(tried_for);
    Some(spec.give_up_after.saturating_sub(age).max(fair))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RetrySpec {
        RetrySpec {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(2),
            give_up_after: Duration::from_secs(60),
            max_attempts: None,
        }
    }

    #[test]
    fn waits_double_with_jitter_up_to_the_maximum() {
        let mut waits = Backoff::after(&spec(), 0);
        let first = waits.next();
        assert!((50..=150).contains(&first.as_millis()), "{first:?}");
        for _ in 0..20 {
            assert!(waits.next() <= spec().max);
        }
        assert!(waits.next() >= spec().max / 2);
        waits.reset();
        assert!(waits.next() <= Duration::from_millis(150));
    }

    #[test]
    fn waits_resume_where_a_restart_left_them() {
        assert!(Backoff::after(&spec(), 10).next() >= Duration::from_secs(1));
    }

    #[test]
    fn the_age_is_counted_from_the_first_attempt() {
        let long = Duration::from_secs(60);
        let left = |first, now| too_late_in(&spec(), first, now, long);
        assert_eq!(left(None, u64::MAX), None);
        assert_eq!(left(Some(1_000), 21_000), Some(Duration::from_secs(40)));
        assert_eq!(left(Some(1_000), 61_000), Some(Duration::ZERO));
        assert_eq!(left(Some(9_000), 1_000), Some(long), "a clock that went back gives nothing up");
    }

    #[test]
    fn after_an_outage_the_agent_gets_a_fair_chance_before_a_delivery_is_too_late() {
        let spec = RetrySpec { give_up_after: Duration::from_secs(86_400), ..spec() };
        let two_days = 2 * 86_400_000;
        let left = |tried_for| too_late_in(&spec, Some(0), two_days, tried_for);
        assert_eq!(left(Duration::from_secs(1)), Some(Duration::from_secs(299)));
        assert_eq!(left(MIN_TRIED_FOR), Some(Duration::ZERO));
    }

    #[test]
    fn max_attempts_is_reached_by_as_many_failed_attempts() {
        let limited = RetrySpec { max_attempts: Some(3), ..spec() };
        assert_eq!([0, 2, 3, 4].map(|failed| max_attempts_reached(&limited, failed)), [false, false, true, true]);
        assert!(!max_attempts_reached(&spec(), u32::MAX), "without a limit");
    }
}
