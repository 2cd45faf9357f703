//! When a producer that gets no answer is replaced by a new one. Pure.
//!
//! librdkafka takes metadata with an older leader epoch for out of date. The leaders of a topic that was created again count
//! their epochs from zero, so a producer that knew the former topic may ask a broker that does not lead a partition any more
//! for ever, and report no error. A new producer knows nothing of the former topic.

use std::time::{Duration, Instant};

/// The shortest and the longest time between two replacements.
const FIRST_WAIT: Duration = Duration::from_secs(45);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// When the producer was replaced last, and how long the new one has.
    last: Option<(Instant, Duration)>,
}

impl Renewal {
    /// There was an answer.
    pub(super) fn answered(&mut self) {
        self.last = None;
    }

    /// Whether to replace the producer now. Each new one has twice the time of the one before, until there is an answer.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let next = match self.last {
            None => FIRST_WAIT,
            Some((since, wait)) if now.saturating_duration_since(since) < wait => return false,
            Some((_, wait)) => (wait * 2).min(LONGEST_WAIT),
        };
        self.last = Some((now, next));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_producer_has_more_and_more_time_until_there_is_an_answer() {
        let start = Instant::now();
        let mut renewal = Renewal::default();
        let mut due = |seconds: std::ops::Range<u64>| -> Vec<u64> {
            seconds.filter(|second| renewal.take_due(start + Duration::from_secs(*second))).collect()
        };
        assert_eq!(due(50..3_000), [50, 95, 185, 365, 725, 1_325, 1_925, 2_525]);
        renewal.answered();
        let again = renewal.take_due(start + Duration::from_secs(3_000));
        assert!(again && !renewal.take_due(start + Duration::from_secs(3_044)));
    }
}
