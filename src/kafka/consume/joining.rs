//! How long this process has waited for the group to give it partitions, and why.
//!
//! A group gives the partitions of a member that ended without leaving to others only after its session has ended. With
//! the classic protocol every join waits for that; with `group.protocol=consumer` its partitions do.

use std::time::{Duration, Instant};

use super::super::settings::KafkaSettings;
use crate::sync::Mutex;

/// A join that takes longer is worth a line in the log. Brokers wait 3 s for more members of an empty group
/// (`group.initial.rebalance.delay.ms`).
const REPORT_AFTER: Duration = Duration::from_secs(4);

/// The session of a member, and the setting that decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    /// How long the group waits for a silent member.
    pub length: Duration,
    /// Where that is set.
    pub setting: &'static str,
}

impl Session {
    pub(super) fn of(settings: &KafkaSettings) -> Self {
        let setting = if settings.uses_next_generation() {
            "group.consumer.session.timeout.ms of the group or the brokers"
        } else {
            "session.timeout.ms"
        };
        Self { length: settings.session_timeout(), setting }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Joining {
    session: Session,
    /// The next assignment may be empty, and partitions follow.
    piecemeal: bool,
    since: Mutex<Option<(Instant, bool)>>,
    /// Since when the group's answer is that there is no partition for this process.
    empty_since: Mutex<Option<Instant>>,
}

/// A new member gets its partitions after others have given them up; until then the group's answer is an empty assignment.
const RESERVE_AFTER: Duration = Duration::from_secs(10);

impl Joining {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        Self {
            session: Session::of(settings),
            piecemeal: settings.uses_next_generation(),
            since: Mutex::default(),
            empty_since: Mutex::default(),
        }
    }

    /// The process asks to be a member, or to be one again.
    pub(super) fn began(&self) {
        self.since.lock().get_or_insert((Instant::now(), false));
        *self.empty_since.lock() = None;
    }

    /// The group has answered with so many partitions.
    pub(super) fn assigned(&self, partitions: usize) {
        if partitions > 0 || !self.piecemeal {
            *self.since.lock() = None;
        }
        let mut empty_since = self.empty_since.lock();
        if partitions > 0 {
            *empty_since = None;
        } else {
            empty_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether the group has more members than partitions, as far as one without a partition can know: not while it may
    /// wait for the session of a former member.
    pub(super) fn is_in_reserve(&self) -> bool {
        self.waits_for().is_none() && self.empty_since.lock().is_some_and(|since| since.elapsed() >= RESERVE_AFTER)
    }

    /// The session that is waited for, while that may be the reason.
    pub(super) fn waits_for(&self) -> Option<Session> {
        let (since, _) = (*self.since.lock())?;
        (since.elapsed() <= self.session.length + REPORT_AFTER).then_some(self.session)
    }

    /// Logs a wait that is long, once.
    pub(super) fn report(&self) {
        let mut since = self.since.lock();
        if let Some((began, reported)) = &mut *since
            && !*reported
            && began.elapsed() >= REPORT_AFTER
        {
            *reported = true;
            tracing::info!(
                at_most_ms = self.session.length.as_millis(),
                setting = self.session.setting,
                "the group has not assigned partitions yet: it may wait for a former member that ended without leaving"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joining(protocol: &str) -> Joining {
        let mut settings = KafkaSettings::default();
        settings.properties.insert("group.protocol".into(), protocol.into());
        Joining::new(&settings)
    }

    #[test]
    fn a_join_ends_with_the_groups_answer() {
        let joining = joining("classic");
        assert_eq!(joining.waits_for(), None);
        joining.began();
        assert_eq!(joining.waits_for().map(|session| session.setting), Some("session.timeout.ms"));
        // More members than partitions: nothing is waited for.
        joining.assigned(0);
        assert_eq!(joining.waits_for(), None);
    }

    #[test]
    fn a_member_without_a_partition_is_in_reserve_after_a_while() {
        let joining = joining("classic");
        let age = |seconds| {
            let since = Instant::now().checked_sub(Duration::from_secs(seconds));
            joining.empty_since.lock().replace(since.unwrap());
        };
        joining.began();
        assert!(!joining.is_in_reserve());
        joining.assigned(0);
        // The test may be held up here for longer than it takes to be in reserve.
        *joining.empty_since.lock().as_mut().unwrap() += Duration::from_secs(60);
        assert!(!joining.is_in_reserve(), "others may be giving up partitions for it");
        age(11);
        joining.assigned(0);
        assert!(joining.is_in_reserve());
        joining.assigned(1);
        assert!(!joining.is_in_reserve());
        joining.assigned(0);
        age(11);
        joining.began();
        assert!(!joining.is_in_reserve(), "its membership was lost");
    }

    #[test]
    fn with_the_next_protocol_an_empty_assignment_is_not_the_last_word() {
        let joining = joining("consumer");
        joining.began();
        joining.assigned(0);
        assert!(joining.waits_for().is_some_and(|session| session.setting.starts_with("group.consumer.")));
        let long_ago = Instant::now().checked_sub(Duration::from_secs(30));
        *joining.empty_since.lock() = long_ago;
        assert!(!joining.is_in_reserve(), "the partitions may be a former member's");
        *joining.since.lock() = Instant::now().checked_sub(Duration::from_secs(60)).map(|since| (since, false));
        assert!(joining.is_in_reserve());
        joining.assigned(3);
        assert_eq!(joining.waits_for(), None);
    }

    #[test]
    fn what_lasts_longer_than_a_session_has_another_reason() {
        let joining = joining("classic");
        joining.began();
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60));
        *joining.since.lock() = long_ago.map(|since| (since, false));
        assert_eq!(joining.waits_for(), None);
    }
}
