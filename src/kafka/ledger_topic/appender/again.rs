//! When records that were refused are sent again. Pure.

use std::time::{Duration, Instant};

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug)]
pub(super) struct Again {
    wait: Duration,
    at: Option<Instant>,
}

impl Default for Again {
    fn default() -> Self {
        Self { wait: FIRST_WAIT, at: None }
    }
}

impl Again {
    /// Records were refused at this time. What is refused meanwhile does not postpone those that wait.
    pub(super) fn refused(&mut self, now: Instant) {
        if self.at.is_none() {
            self.at = Some(now + self.wait);
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        }
    }

    /// A record was acknowledged.
    pub(super) fn works(&mut self) {
        self.wait = FIRST_WAIT;
    }

    /// How long those that were refused wait still.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// Whether to send them now.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let due = self.left(now).is_zero();
        if due {
            self.at = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_that_do_not_end_postpone_nothing_and_the_waits_grow_up_to_a_limit() {
        let start = Instant::now();
        let mut again = Again::default();
        let mut sent = vec![];
        for ms in (0..120_000).step_by(10) {
            let now = start + Duration::from_millis(ms);
            again.refused(now);
            if again.take_due(now) {
                sent.push(ms);
            }
        }
        assert_eq!(sent[..4], [250, 760, 1_770, 3_780]);
        let longest = sent.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert_eq!(longest, Some(15_010));
        again.works();
        assert!(again.take_due(start + Duration::from_secs(200)));
        again.refused(start);
        assert_eq!(again.left(start), FIRST_WAIT);
    }
}
