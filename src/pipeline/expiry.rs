//! When and how fast records leave the ledger.
//!
//! Owns the passes over the ledger, cut into steps that are short enough for the dispatcher, between
//! whose other work they are made. Its invariants: a step ends soon after [`STEP`], and between two
//! steps the dispatcher has at least as long for everything else. What may leave is not decided here
//! (see `uncommitted`).

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;
use tracing::{error, info};

use super::Shared;
use crate::dedup::{Cursor, InFlight, LedgerError};

/// How long a step goes on, and how many records it takes on between two looks at the clock.
const STEP: Duration = Duration::from_millis(2);
const CHUNK: usize = 64;
/// How often what was committed is taken in while no pass is made.
const TAKE_IN: Duration = Duration::from_secs(1);
/// How long nothing is tried while nothing may leave.
const IDLE: Duration = Duration::from_millis(100);
/// The shortest and the longest rest between two passes; in between it is a hundredth of the window.
const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(600));

/// The expiry of one ledger.
pub(super) struct Expiry {
    cursor: Option<Cursor>,
    due: Instant,
    /// No pass is made before.
    resting_until: Instant,
    /// Records that left in this pass.
    expired: usize,
    unreadable_logged: bool,
}

impl Expiry {
    pub(super) fn new(now: Instant) -> Self {
        Self { cursor: None, due: now + IDLE, resting_until: now, expired: 0, unreadable_logged: false }
    }

    /// When the next step is to be made.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// One step of the pass; a new pass begins when the last one has ended.
    pub(super) fn step<T>(&mut self, shared: &Shared, in_flight: &InFlight<T>) -> Result<(), LedgerError> {
        let began = Instant::now();
        if began < self.resting_until {
            shared.take_in_commits();
            self.due = Instant::now() + TAKE_IN;
            return Ok(());
        }
        let Some(now) = shared.ledger_now_ms() else {
            self.due = began + IDLE;
            return Ok(());
        };
        let found = Cell::new(false);
        let held = |event_id: &str| {
            let held = shared.uncommitted.contains(event_id) || in_flight.contains(event_id);
            found.set(found.get() || !held);
            held
        };
        loop {
            let chunk = shared.ledger.expire_chunk(self.cursor.take(), now, &held, CHUNK)?;
            self.expired += chunk.expired;
            if chunk.unreadable > 0 && !self.unreadable_logged {
                self.unreadable_logged = true;
                error!(
                    records = chunk.unreadable,
                    "ledger records cannot be read and are left alone: docs/ledger.md says what to do (logged once)"
                );
            }
            self.cursor = chunk.next;
            if self.cursor.is_none() {
                if self.expired > 0 {
                    info!(expired = self.expired, "ledger records left the dedup window");
                }
                self.expired = 0;
                self.resting_until = Instant::now() + rest(shared.ledger.window());
                self.due = Instant::now() + TAKE_IN.min(rest(shared.ledger.window()));
                return Ok(());
            }
            let took = began.elapsed();
            if took >= STEP {
                self.due = Instant::now() + pause(took, found.get());
                return Ok(());
            }
        }
    }
}

/// How long the dispatcher is left alone after a step. While records leave, as long as the step took:
/// so the ledger gets rid of them faster than it takes new ones in. Else four times as long.
fn pause(took: Duration, found: bool) -> Duration {
    took.max(Duration::from_millis(1)) * if found { 1 } else { 4 }
}

fn rest(window: Duration) -> Duration {
    (window / 100).clamp(REST.0, REST.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dispatcher_has_at_least_as_long_as_a_step_takes() {
        for took in [0, 2, 5, 50].map(Duration::from_millis) {
            assert!(pause(took, true) >= took);
            assert!(pause(took, false) >= 4 * took);
            assert!(pause(took, true) >= Duration::from_millis(1));
        }
    }

    #[test]
    fn the_rest_between_two_passes_is_a_small_part_of_the_window() {
        for (window, expected) in [(60, 600), (3_600, 36_000), (7 * 86_400, 600_000)] {
            assert_eq!(rest(Duration::from_secs(window)), Duration::from_millis(expected));
        }
        assert_eq!(rest(Duration::from_secs(1)), REST.0);
    }
}
