//! Whether a partition can be read: it is stuck when it has something to read, gets nothing but errors, and does not
//! move. Pure.

use std::time::{Duration, Instant};

/// A partition that does not move for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(15);

/// A partition that cannot be read at this offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stuck {
    /// The offset that cannot be read.
    pub offset: i64,
    /// For how long, as of the status.
    pub seconds: u64,
    /// What the Kafka client says.
    pub reason: String,
    since: Instant,
}

/// A change that is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum StuckChange {
    Stuck(Stuck),
    Moves,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StuckDetector {
    /// The position at the last check, and since when.
    position: Option<(i64, Instant)>,
    stuck: Option<Stuck>,
}

impl StuckDetector {
    /// One check. `unread_at` is the position when there is something to read; `is_fetched` is false while nothing is
    /// to be fetched; `error_at` is the client's error for an offset since a point in time.
    pub(super) fn check(
        &mut self,
        now: Instant,
        unread_at: Option<i64>,
        is_fetched: bool,
        error_at: impl FnOnce(i64, Instant) -> Option<String>,
    ) -> Option<StuckChange> {
        if !is_fetched {
            self.position = unread_at.map(|at| (at, now));
            return None;
        }
        let since = match (unread_at, self.position) {
            (Some(at), Some((last, since))) if at == last => since,
            _ => {
                self.position = unread_at.map(|at| (at, now));
                return self.stuck.take().map(|_| StuckChange::Moves);
            }
        };
        let (offset, unmoved) = (unread_at?, now.duration_since(since));
        if unmoved < STUCK_AFTER {
            return None;
        }
        let reason = error_at(offset, since)?;
        let stuck = Stuck { offset, seconds: unmoved.as_secs(), reason, since };
        let is_new = self.stuck.is_none();
        self.stuck = Some(stuck.clone());
        is_new.then_some(StuckChange::Stuck(stuck))
    }

    pub(super) fn moved_since(&self, then: Instant) -> bool {
        self.position.is_some_and(|(_, since)| since > then)
    }

    pub(super) fn log_replaced(&mut self) {
        self.position = None;
    }

    /// As of now, for the status.
    pub(super) fn stuck(&self) -> Option<Stuck> {
        self.stuck.clone().map(|stuck| Stuck { seconds: stuck.since.elapsed().as_secs(), ..stuck })
    }
}
