//! How long the loop waits for a record. A record ends the wait at once; whatever else the loop does waits with it.

use std::time::{Duration, Instant};

use super::state::ConsumerState;

/// While attempts for revoked partitions are waited for, or partitions, or the ledger topic before them.
const SHORT: Duration = Duration::from_millis(10);
/// The other partitions wait for longer than this: their brokers may not answer, or others have them.
const SHORT_FOR: Duration = Duration::from_secs(10);
pub(super) const USUAL: Duration = Duration::from_millis(100);
/// While nothing is in flight or waited for. A stop waits for it.
const LONG: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub(super) struct Patience {
    wait: Duration,
    /// Since when partitions are waited for.
    since: Option<Instant>,
}

/// What the loop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Partitions, or what has to be done before they are read.
    Partitions,
    /// Deliveries.
    Deliveries,
    Records,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self { wait: USUAL, since: Some(now) }
    }

    /// How long the next poll may wait.
    pub(super) fn wait(&self, state: &ConsumerState) -> Duration {
        if state.is_releasing() { SHORT } else { self.wait }
    }

    /// Something came: the next poll is not to wait for long.
    pub(super) fn came(&mut self) {
        self.wait = self.wait.min(USUAL);
    }

    /// Decides after a poll without a record.
    pub(super) fn nothing_came(&mut self, state: &ConsumerState, now: Instant) {
        let owned = state.owned();
        let awaited = if owned.is_empty() || owned.iter().any(|one| one.is_held() && !one.is_capped()) {
            Awaited::Partitions
        } else if state.budget.usage().events > 0 {
            Awaited::Deliveries
        } else {
            Awaited::Records
        };
        self.decide(awaited, now);
    }

    fn decide(&mut self, awaited: Awaited, now: Instant) {
        self.since = (awaited == Awaited::Partitions).then(|| self.since.unwrap_or(now));
        self.wait = match (awaited, self.since) {
            (Awaited::Partitions, Some(since)) if now.duration_since(since) < SHORT_FOR => SHORT,
            (Awaited::Records, _) => LONG,
            _ => USUAL,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_shortly_for_partitions_and_long_when_there_is_nothing_to_do() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(start);
        let mut decide = |awaited, seconds| {
            patience.decide(awaited, at(seconds));
            patience.wait
        };
        assert_eq!(decide(Awaited::Partitions, 1), SHORT);
        assert_eq!(decide(Awaited::Partitions, 11), USUAL);
        assert_eq!(decide(Awaited::Deliveries, 12), USUAL);
        assert_eq!(decide(Awaited::Records, 13), LONG);
        assert_eq!(decide(Awaited::Partitions, 100), SHORT);
        assert_eq!(decide(Awaited::Partitions, 109), SHORT);
        assert_eq!(decide(Awaited::Partitions, 110), USUAL);
        assert_eq!(decide(Awaited::Records, 111), LONG);
        patience.came();
        assert_eq!(patience.wait, USUAL);
    }
}
