//! The deliveries to one agent in one assignment of one source partition.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// How close the feeder must be to the end before new deliveries are held back, in offsets. Deliveries that arrive
/// without a pause would be parked for ever otherwise.
const NEAR: i64 = 64;

/// How long new deliveries are held back for the last parked ones. One of these may not end for long, although the agent
/// works for others: then new ones are parked again, and wait in nobody's budget.
const HOLD_FOR: Duration = Duration::from_secs(2);

/// What happens to a live delivery that has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum Mode {
    /// It is attempted.
    Attempt,
    /// It is parked.
    Park,
    /// It waits: it is not known yet what is parked, or the last of it is being delivered.
    Hold,
}

/// The deliveries to one agent.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) mode: Mode,
    /// The feeder has read so far.
    pub(super) cursor: i64,
    /// Above the last parked delivery.
    pub(super) end: i64,
    /// Fed deliveries without an end, each with the time at which it was parked.
    pub(super) open: BTreeMap<i64, u64>,
    /// The most deliveries that the read which is under way brings; 0 without one.
    pub(super) reading: usize,
    pub(super) count: u64,
    pub(super) oldest_ms: Option<u64>,
    pub(super) held_since: Option<Instant>,
    /// New deliveries were held back for too long; they are not again before what was fed up to this offset has ended.
    pub(super) stuck: Option<i64>,
}

impl Line {
    pub(super) fn new(end: i64) -> Self {
        Self {
            mode: Mode::Attempt,
            cursor: end,
            end,
            open: BTreeMap::new(),
            reading: 0,
            count: 0,
            oldest_ms: None,
            held_since: None,
            stuck: None,
        }
    }

    /// Follows a breaker that has not been open for long.
    pub(super) fn follow(&mut self, is_open: bool, may_park: bool, is_being_parked: bool, now: Instant) {
        let first_fed = self.open.first_key_value().map(|(offset, _)| *offset);
        let is_stuck = self.stuck.is_some_and(|stuck| first_fed.is_some_and(|first| first <= stuck));
        if self.mode == Mode::Park && !is_open && !is_stuck && self.end - self.cursor <= NEAR {
            (self.mode, self.held_since, self.stuck) = (Mode::Hold, Some(now), None);
        }
        if self.mode != Mode::Hold {
            return;
        }
        if !is_being_parked && self.reading == 0 && self.first_open().is_none() {
            self.mode = Mode::Attempt;
        } else if may_park && self.held_since.is_some_and(|since| now.duration_since(since) >= HOLD_FOR) {
            self.mode = Mode::Park;
            self.stuck = self.open.last_key_value().map(|(offset, _)| *offset);
        }
    }

    /// The first parked delivery without an end.
    pub(super) fn first_open(&self) -> Option<i64> {
        let unread = (self.cursor < self.end).then_some(self.cursor);
        self.open.first_key_value().map(|(offset, _)| *offset).into_iter().chain(unread).min()
    }

    /// Nothing is parked any more: what was counted besides were copies.
    pub(super) fn forget_if_drained(&mut self) {
        if self.first_open().is_none() && self.reading == 0 {
            (self.count, self.oldest_ms) = (0, None);
        }
    }
}
