//! When and how fast records leave the ledger, and are written to the ledger topic again.
//!
//! Owns the passes over the ledger. A pass consists of short steps, which the dispatcher makes between
//! its other work. Invariants: a step ends soon after [`STEP`], and between two
//! steps the dispatcher has at least as long for everything else. Which records may leave is decided in
//! `uncommitted`.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use super::{context::PipelineContext, rewrite::Rewrites};
use crate::{
    dedup::{ExpiryClock, ExpiryCursor, ExpiryRules, ExpiryStep, InFlightRegistry, LedgerError},
    kafka::ReadProgress,
};

/// How long a step takes, and how many records it checks between two readings of the clock.
const STEP: Duration = Duration::from_millis(2);
const CHUNK: usize = 64;
/// How often committed records are forgotten while no pass is made, and whether a pass may begin is looked up.
const FORGET: Duration = Duration::from_secs(1);
/// The rest between two passes when the ledger topic had no room for all that it lost.
const REFILL_REST: Duration = Duration::from_secs(1);
/// How often that is doubled at most.
const LONGEST_REFILL_REST: u32 = 5;
/// How long to wait before the first step, while the ledger topic has not taken all that it is to get again, and in a pass
/// while nothing may leave.
const IDLE: Duration = Duration::from_millis(100);
/// The shortest and the longest rest between two passes; in between it is a hundredth of the window.
const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(600));

/// The expiry of one ledger.
pub(super) struct Expiry {
    cursor: Option<ExpiryCursor>,
    due: Instant,
    /// No pass is made before.
    resting_until: Instant,
    /// Records that left in this pass.
    expired: usize,
    /// What the ledger topic gets again.
    rewrites: Rewrites,
    /// The losses of the ledger topic for which a pass has begun.
    losses: u64,
    /// This pass is made for them.
    refilling: bool,
    /// In this pass there was no room for all that the ledger topic is to get again.
    left: bool,
    /// How many passes have ended so since the ledger topic took any of it.
    stuck: u32,
    unreadable_logged: bool,
}

impl Expiry {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            cursor: None,
            due: now + IDLE,
            resting_until: now,
            expired: 0,
            rewrites: Rewrites::default(),
            losses: 0,
            refilling: false,
            left: false,
            stuck: 0,
            unreadable_logged: false,
        }
    }

    /// When the next step is to be made.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// One step of the pass; a new pass begins when the last one has ended, and at once when the ledger topic has lost
    /// records.
    pub(super) fn step<T>(
        &mut self,
        context: &PipelineContext,
        in_flight: &InFlightRegistry<T>,
    ) -> Result<(), LedgerError> {
        let began = Instant::now();
        self.rewrites.note_written(context, began, STEP)?;
        let losses = context.ledger.topic_losses();
        if losses != self.losses {
            (self.losses, self.cursor, self.refilling, self.left) = (losses, None, true, false);
            self.resting_until = began;
        }
        if began < self.resting_until {
            context.forget_committed();
            if self.refilling || self.rewrites.is_complete() {
                self.report_written();
            }
            self.due = Instant::now() + if self.rewrites.is_complete() { FORGET } else { IDLE };
            return Ok(());
        }
        let refill_clock = || self.refilling.then(|| context.refill_clock());
        let Some((clock, progress)) = context.expiry_clock().or_else(refill_clock) else {
            // A pass that has begun soon goes on.
            self.due = began + if self.cursor.is_some() { IDLE } else { FORGET };
            return Ok(());
        };
        self.pass(context, in_flight, clock, &progress, began)
    }

    /// Chunk after chunk, until the time of a step is over.
    fn pass<T>(
        &mut self,
        context: &PipelineContext,
        in_flight: &InFlightRegistry<T>,
        clock: ExpiryClock,
        progress: &ReadProgress,
        began: Instant,
    ) -> Result<(), LedgerError> {
        let is_needed = |event_id: &str| context.uncommitted.contains(event_id) || in_flight.contains(event_id);
        let is_owned = |topic: &str, partition| {
            progress.assigned.iter().any(|(name, number)| **name == *topic && *number == partition)
        };
        let rules = ExpiryRules { is_needed: &is_needed, is_owned: &is_owned };
        let mut found = false;
        loop {
            let chunk = context.ledger.expire_step(self.cursor.take(), clock, &rules, CHUNK)?;
            self.expired += chunk.expired;
            found |= chunk.expired > 0 || !chunk.rewrite_due.is_empty();
            self.report_unreadable(&chunk);
            self.left |= !self.rewrites.append(context, chunk.rewrite_due);
            self.cursor = chunk.next;
            if self.cursor.is_none() {
                self.end_pass(context);
                return Ok(());
            }
            let took = began.elapsed();
            if took >= STEP {
                self.due = Instant::now() + pause(took, found);
                return Ok(());
            }
        }
    }

    fn report_written(&mut self) {
        let records = self.rewrites.take_written();
        if records > 0 {
            let more = self.refilling;
            info!(records, more, "ledger records were written to the ledger topic again");
        }
    }

    fn report_unreadable(&mut self, chunk: &ExpiryStep) {
        if chunk.unreadable > 0 && !self.unreadable_logged {
            self.unreadable_logged = true;
            error!(
                records = chunk.unreadable,
                "ledger records cannot be read and are left alone: docs/ledger.md says what to do (logged once)"
            );
        }
    }

    fn end_pass(&mut self, context: &PipelineContext) {
        if self.expired > 0 {
            info!(expired = self.expired, "ledger records left the dedup window");
        }
        let mut rest = rest(context.ledger.window());
        if self.refilling && self.left {
            // Longer and longer while the topic takes none of it.
            self.stuck = if self.rewrites.take_progress() { 0 } else { (self.stuck + 1).min(LONGEST_REFILL_REST) };
            rest = rest.min(REFILL_REST * (1 << self.stuck));
        }
        self.refilling &= self.left;
        (self.expired, self.left) = (0, false);
        self.resting_until = Instant::now() + rest;
        self.due = Instant::now() + if self.rewrites.is_complete() { FORGET.min(rest) } else { IDLE };
    }
}

/// How long the dispatcher has for other work after a step. While records leave, as long as the step took, so that
/// the ledger removes records faster than new ones arrive. Otherwise four times as long.
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
