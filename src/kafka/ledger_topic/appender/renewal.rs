//! When a producer that gets no answer is replaced by a new one. Pure.
//!
//! librdkafka takes metadata with an older leader epoch for out of date. The leaders of a topic that was created again count
//! their epochs from zero, so a producer that knew the former topic may ask a broker that does not lead a partition any more
//! for ever, and report no error: these records have no time-out.

use std::time::{Duration, Instant};

/// How long a partition may give no answer at first, and at most.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// When the producer was replaced last, and how long the new one has.
    last: Option<(Instant, Duration)>,
}

impl Renewal {
    /// Whether to replace the producer now, of which the partition that waits longest for an answer has waited so long. Each
    /// new one has twice the time of the one before, while there is no answer.
    pub(super) fn take_due(&mut self, waited: Duration, now: Instant) -> bool {
        if waited < FIRST_WAIT {
            self.last = None;
            return false;
        }
        let (since, wait) = self.last.unwrap_or((now, Duration::ZERO));
        if now.saturating_duration_since(since) < wait {
            return false;
        }
        self.last = Some((now, (wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT)));
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
        let mut due = |answered: u64, seconds: std::ops::Range<u64>| -> Vec<u64> {
            let is_due = |second: &u64| {
                let waited = Duration::from_secs(second - answered);
                renewal.take_due(waited, start + Duration::from_secs(*second))
            };
            seconds.filter(is_due).collect()
        };
        assert_eq!(due(0, 0..3_000), [30, 60, 120, 240, 480, 960, 1_560, 2_160, 2_760]);
        assert_eq!(due(3_000, 3_000..3_100), [3_030, 3_060]);
    }
}
