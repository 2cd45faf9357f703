//! Attempts spaced evenly: `50/s` is one each 20 ms. Pure; the caller does the waiting.

use std::time::Duration;

use tokio::time::Instant;

use crate::agents::Rate;

pub(super) struct Pace {
    interval: Duration,
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        Self { interval: rate.per / rate.count.get(), next: None }
    }

    /// Takes the next slot and says when it is.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        let slot = self.next.map_or(now, |next| next.max(now));
        self.next = Some(slot + self.interval);
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn slots_are_spaced_and_an_idle_time_saves_none_up() {
        let rate = Rate { count: NonZeroU32::new(50).unwrap(), per: Duration::from_secs(1) };
        let (mut pace, start) = (Pace::new(rate), Instant::now());
        let slots: Vec<_> = (0..3).map(|_| pace.take(start) - start).collect();
        assert_eq!(slots, [0, 20, 40].map(Duration::from_millis));
        let later = start + Duration::from_secs(5);
        assert_eq!(pace.take(later), later);
        assert_eq!(pace.take(later), later + Duration::from_millis(20));
    }
}
