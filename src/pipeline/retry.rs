//! When a failed delivery is tried again, and when the bridge gives it up.
//!
//! The one file that knows the `backoff` crate. Its traps are avoided here: the crate's own
//! `Retry-After` ignores the elapsed time and it counts no attempts, so both ends are decided by
//! [`given_up`], from numbers that survive a restart.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

use crate::agents::RetrySpec;

/// The jittered, doubling waits of one delivery, or of one agent's probes.
pub(super) struct Waits {
    backoff: ExponentialBackoff,
    initial: Duration,
    max: Duration,
}

impl Waits {
    /// Waits as the agent wants them, after `failures` that have been already.
    pub(super) fn after(spec: &RetrySpec, failures: u32) -> Self {
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(spec.initial)
            .with_max_interval(spec.max)
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            .with_max_elapsed_time(None)
            .build();
        let mut waits = Self { backoff, initial: spec.initial, max: spec.max };
        // 64 doublings reach any maximum.
        for _ in 0..failures.min(64) {
            waits.next();
        }
        waits
    }

    /// The next wait, never longer than the maximum.
    pub(super) fn next(&mut self) -> Duration {
        self.backoff.next_backoff().map_or(self.max, |wait| wait.min(self.max))
    }

    /// The wait that the others grow from.
    pub(super) fn initial(&self) -> Duration {
        self.initial
    }

    /// Begins again at the initial wait.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }
}

/// Why a delivery is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// Its first attempt is longer ago than `give_up_after`.
    TooLate,
    /// It was answered ambiguously `max_attempts` times.
    TooOften,
}

impl GivenUp {
    /// What happened, for whoever reads the dead letter.
    pub(super) fn says(self, failures: u32) -> String {
        match self {
            Self::TooLate => "its first attempt is longer ago than give_up_after".to_owned(),
            Self::TooOften => format!("it was answered ambiguously {failures} times, which is max_attempts"),
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::TooLate => "gave_up",
            Self::TooOften => "max_attempts",
        }
    }
}

/// A delivery is not given up for its age before this process has tried it for so long: after an outage
/// of the bridge, or a jump of the clock, the agent gets a chance to come up too.
const FAIR_CHANCE: Duration = Duration::from_secs(300);

/// Whether a delivery that has no answer that decides on it ends here. `counted` is how many attempts
/// count towards `max_attempts`, if the last one does; the first attempt of any process was at
/// `first_attempt_ms`, the first of this process `tried_for` ago.
pub(super) fn given_up(
    spec: &RetrySpec,
    counted: Option<u32>,
    first_attempt_ms: Option<u64>,
    now_ms: u64,
    tried_for: Duration,
) -> Option<GivenUp> {
    if counted.is_some_and(|counted| too_often(spec, counted)) {
        return Some(GivenUp::TooOften);
    }
    too_late_in(spec, first_attempt_ms, now_ms, tried_for).filter(Duration::is_zero).map(|_| GivenUp::TooLate)
}

/// Whether the attempts that count are as many as there may be.
pub(super) fn too_often(spec: &RetrySpec, counted: u32) -> bool {
    spec.max_attempts.is_some_and(|max| counted >= max)
}

/// How long until a delivery is too late: zero when it is, `None` when it has had no attempt.
pub(super) fn too_late_in(
    spec: &RetrySpec,
    first_attempt_ms: Option<u64>,
    now_ms: u64,
    tried_for: Duration,
) -> Option<Duration> {
    let age = Duration::from_millis(now_ms.saturating_sub(first_attempt_ms?));
    let fair = FAIR_CHANCE.min(spec.give_up_after).saturating_sub(tried_for);
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
        let mut waits = Waits::after(&spec(), 0);
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
        assert!(Waits::after(&spec(), 10).next() >= Duration::from_secs(1));
    }

    #[test]
    fn a_delivery_is_given_up_by_age_or_by_count() {
        let spec = RetrySpec { max_attempts: Some(3), ..spec() };
        let long = Duration::from_secs(60);
        assert_eq!(given_up(&spec, Some(0), None, u64::MAX, long), None);
        assert_eq!(given_up(&spec, Some(2), Some(1_000), 2_000, long), None);
        assert_eq!(given_up(&spec, Some(3), Some(1_000), 2_000, Duration::ZERO), Some(GivenUp::TooOften));
        assert_eq!(given_up(&spec, Some(0), Some(1_000), 61_000, long), Some(GivenUp::TooLate));
        assert_eq!(given_up(&spec, Some(1), Some(9_000), 1_000, long), None, "a clock that went back gives nothing up");
        assert_eq!(given_up(&spec, None, Some(1_000), 2_000, long), None, "an answer that does not count");
        assert_eq!(given_up(&spec, None, Some(1_000), 61_000, long), Some(GivenUp::TooLate), "age counts for all");
        assert_eq!(too_late_in(&spec, Some(1_000), 21_000, long), Some(Duration::from_secs(40)));
    }

    #[test]
    fn after_an_outage_the_agent_gets_a_fair_chance_before_a_delivery_is_too_late() {
        let spec = RetrySpec { give_up_after: Duration::from_secs(86_400), ..spec() };
        let two_days = 2 * 86_400_000;
        assert_eq!(given_up(&spec, Some(1), Some(0), two_days, Duration::from_secs(1)), None);
        assert_eq!(given_up(&spec, Some(1), Some(0), two_days, FAIR_CHANCE), Some(GivenUp::TooLate));
    }
}
