//! How often what is parked is looked at: seldom while nothing happens.

use std::time::Duration;

use tokio::time::Instant;

const EVERY: Duration = Duration::from_millis(200);
/// After it has been quiet for a while: nothing is in flight, every agent works and nothing is parked.
const SELDOM: Duration = Duration::from_secs(1);
const QUIET_FOR: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Rest {
    due: Instant,
    /// When it was not quiet for the last time.
    busy: Instant,
    is_resting: bool,
}

impl Rest {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now + EVERY, busy: now, is_resting: false }
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// It was looked at.
    pub(super) fn looked(&mut self, is_quiet: bool, now: Instant) {
        if !is_quiet {
            self.busy = now;
        }
        self.is_resting = now.duration_since(self.busy) >= QUIET_FOR;
        self.due = now + if self.is_resting { SELDOM } else { EVERY };
    }

    /// Something happens: the next look is due soon.
    pub(super) fn end(&mut self) {
        if self.is_resting {
            self.is_resting = false;
            self.due = self.due.min(Instant::now() + EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rests_after_a_while_until_something_happens() {
        let start = Instant::now();
        let mut rest = Rest::new(start);
        let looked = |rest: &mut Rest, is_quiet: bool| {
            rest.looked(is_quiet, Instant::now());
            rest.due() - Instant::now()
        };
        assert_eq!(rest.due() - start, EVERY);
        tokio::time::advance(Duration::from_millis(9_800)).await;
        assert_eq!(looked(&mut rest, true), EVERY);
        tokio::time::advance(EVERY).await;
        assert_eq!(looked(&mut rest, true), SELDOM);
        rest.end();
        assert_eq!(rest.due() - Instant::now(), EVERY, "an event ends the rest");
        tokio::time::advance(EVERY).await;
        assert_eq!(looked(&mut rest, true), SELDOM, "an event that has its outcome by then is no end of the quiet");
        assert_eq!(looked(&mut rest, false), EVERY);
        tokio::time::advance(QUIET_FOR / 2).await;
        assert_eq!(looked(&mut rest, true), EVERY);
        rest.end();
        assert_eq!(rest.due() - Instant::now(), EVERY, "it did not rest");
    }
}
